"""Names, addresses and telephone numbers of several countries: pools made by faker once, then combined.

One value of faker's takes 10 to 500 microseconds, a pick from a pool a tenth of one: a million suppliers come out of a few thousand values.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from faker import Faker


class Country(NamedTuple):
    """What faker does not know. `share`: of all vendors, in percent. `prefix`: of a tax number."""

    locale: str
    iso: str
    name: str
    currency: str
    share: int
    prefix: str
    trades: tuple[str, ...]
    forms: tuple[str, ...]
    form_first: bool
    mailboxes: tuple[str, ...]
    second_lines: tuple[str, ...]
    notes: tuple[str, ...]


_ENGLISH_TRADES: Final = (
    "Plumbing", "Logistics", "Office Supply", "Electric", "Building Services", "Consulting", "Engineering", "Foods", "Freight", "Security",
    "Software", "Print & Copy", "Cleaning", "Legal", "Motors", "Landscaping", "Steel", "Packaging", "Media", "Staffing",
)  # fmt: skip
_ENGLISH_NOTES: Final = (
    "Invoices by e-mail only.",
    "A purchase order number is mandatory.",
    "Ask for a new W-9 before the first payment of the year.",
    "Bank details were confirmed by telephone.",
    "Statement of account comes in the first week of the month.",
    "Discount only when paid by ACH.",
    "Merged with another supplier, see the attachment.",
    "Contact the branch, not the head office.",
)
COUNTRIES: Final = (
    Country(
        "en_US", "US", "United States", "USD", 30, "", _ENGLISH_TRADES, ("Inc.", "LLC", "Co.", "Corp."), False,
        ("ap", "billing", "accounting", "ar", "invoices"), ("Suite 200", "Floor 3", "Unit B", "PO Box 1187", "Bldg #4"), _ENGLISH_NOTES,
    ),
    Country(
        "en_GB", "GB", "United Kingdom", "GBP", 14, "GB", _ENGLISH_TRADES, ("Ltd", "Limited", "PLC", "LLP"), False,
        ("accounts", "invoices", "credit.control"), ("Unit 7, Trading Estate", "2nd Floor", "The Old Mill"), _ENGLISH_NOTES,
    ),
    Country(
        "de_DE", "DE", "Deutschland", "EUR", 12, "DE",
        ("Bau", "Elektrotechnik", "Spedition", "Maschinenbau", "Gebäudereinigung", "Druckerei", "Büromöbel", "Metallbau", "Kältetechnik"),
        ("GmbH", "GmbH & Co. KG", "AG", "e.K."), False, ("rechnung", "buchhaltung", "info"), ("Hinterhaus", "2. OG", "z. Hd. Buchhaltung"),
        ("Rechnungen nur per E-Mail als PDF.", "Skonto wird nicht gewährt.", "Freistellungsbescheinigung liegt vor."),
    ),
    Country(
        "sv_SE", "SE", "Sverige", "SEK", 12, "SE",
        ("Bygg", "Åkeri", "Städ", "El & VVS", "Kontorsmaterial", "Måleri", "Redovisning", "Skog", "Fastigheter"), ("AB", "HB", "KB"), False,
        ("faktura", "ekonomi", "kundreskontra"), ("c/o Faktura", "Plan 4", "FE 402"),
        ("Fakturan ska märkas med referens och ordernummer.", "F-skattsedel kontrollerad.", "Bankgiro bekräftat på telefon."),
    ),
    Country(
        "no_NO", "NO", "Norge", "NOK", 10, "NO",
        ("Bygg", "Rørlegger", "Transport", "Renhold", "Elektro", "Regnskap", "Havbruk", "Maskin", "Eiendom"),
        ("AS", "ASA", "ANS", "DA"), False, ("faktura", "regnskap", "post"), ("Postboks 14 Sentrum", "v/regnskap", "2. etasje"),
        ("Faktura sendes som EHF.", "Kontonummer bekreftet på telefon.", "Merkes med prosjektnummer."),
    ),
    Country(
        "fr_FR", "FR", "France", "EUR", 8, "FR",
        ("Bâtiment", "Transports", "Nettoyage", "Électricité", "Imprimerie", "Conseil", "Menuiserie"),
        ("SARL", "SAS", "S.A.", "EURL"), False, ("compta", "facturation", "contact"), ("BP 402", "Bât. C", "ZI Nord"),
        ("Numéro de commande obligatoire sur la facture.",
         "Relevé d'identité bancaire vérifié.", "Escompte pour paiement anticipé : néant."),
    ),
    Country(
        "da_DK", "DK", "Danmark", "DKK", 5, "DK",
        ("Byg", "VVS", "Transport", "Rengøring", "Revision", "Tømrer"), ("A/S", "ApS", "I/S"), False, ("faktura", "bogholderi"),
        ("2. tv.", "Att. bogholderi"), ("Faktura sendes til EAN-nummer.", "Kontonummer bekræftet."),
    ),
    Country(
        "es_ES", "ES", "España", "EUR", 4, "ES",
        ("Construcciones", "Transportes", "Limpiezas", "Electricidad", "Suministros"), ("S.L.", "S.A.", "S.L.U."), False,
        ("facturas", "administracion"), ("Piso 3", "Polígono Industrial Norte"),
        ("Las facturas vencen los días 10 y 25.", "Datos bancarios comprobados por teléfono."),
    ),
    Country(
        "ja_JP", "JP", "日本", "JPY", 3, "T", ("建設", "運輸", "電気工業", "印刷", "設備", "商事"),
        ("株式会社", "有限会社", "合同会社"), True, ("keiri", "seikyu"), ("ビル3階", "本社経理部"),
        ("請求書は電子メールで送付。", "振込先は電話で確認済み。"),
    ),
    Country(
        "ar_AA", "SA", "المملكة العربية السعودية", "SAR", 2, "SA", ("للمقاولات", "للنقل", "للتجارة", "للخدمات", "للصيانة"),
        ("ش.م.م", "المحدودة"), False, ("accounts", "finance"), ("الدور الثاني", "ص.ب. 1187"),
        ("ترسل الفواتير بالبريد الإلكتروني فقط.", "تم التأكد من الحساب البنكي هاتفياً."),
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Pool:
    """Values of one country to pick from."""

    country: Country
    firsts: Sequence[str]
    lasts: Sequence[str]
    companies: Sequence[str]
    streets: Sequence[str]
    places: Sequence[tuple[str, str, str | None]]  # city, post code, state
    phones: Sequence[str]
    domains: Sequence[str]

    def company(self, pick: random.Random) -> str:
        """One of faker's names, or one of the trade: enough different ones for a million vendors."""
        rand = pick.random
        if rand() < 0.15:
            found: str = _one(self.companies, rand())
            return found
        country = self.country
        name, trade, form = _one(self.lasts, rand()), _one(country.trades, rand()), _one(country.forms, rand())
        if rand() < 0.5:
            name = f"{name} & {_one(self.lasts, rand())}"
        return f"{form}{name}{trade}" if country.form_first else f"{name} {trade} {form}"

    def person(self, pick: random.Random) -> tuple[str, str | None, str]:
        """First, middle and last name; most have no middle name."""
        roll = pick.getrandbits(40)
        middle = _nth(self.firsts, roll) if roll % 7 == 0 else None
        return _nth(self.firsts, roll >> 10), middle, _nth(self.lasts, roll >> 20)

    def contact(self, pick: random.Random, company: str | None = None) -> dict[str, Any]:
        """A contact as it is given inline: Sage makes a record of it and its id."""
        country = self.country
        first, middle, last = self.person(pick)
        roll = pick.getrandbits(60)
        city, post_code, state = _nth(self.places, roll)
        domain = _nth(self.domains, roll >> 10)
        contact: dict[str, Any] = {
            "printAs": company or f"{first} {last}",
            "firstName": first,
            "lastName": last,
            "phone1": _nth(self.phones, roll >> 20),
            "email1": f"{_nth(country.mailboxes, roll >> 30)}@{domain}",
            "mailingAddress": {
                "addressLine1": _nth(self.streets, roll >> 40),
                "city": city,
                "postCode": post_code,
                "country": country.name,
                "isoCountryCode": country.iso,
            },
        }
        if company:
            contact["companyName"] = company
        if middle:
            contact["middleName"] = middle
        address = contact["mailingAddress"]
        if state:
            address["state"] = state
        chance = pick.random()
        if chance < 0.8:
            contact["URL1"] = f"https://www.{domain}"
        if chance < 0.6:
            address["addressLine2"] = _one(country.second_lines, chance / 0.6)
        if chance < 0.25:
            address["addressLine3"] = f"{country.iso}-{post_code} {city}"
            contact["URL2"] = f"https://{domain}/invoices?from=ap&lang={country.iso.lower()}"
        if chance > 0.5:
            contact["phone2"] = _nth(self.phones, roll >> 45)
        if chance > 0.9:
            contact["mobile"] = _nth(self.phones, roll >> 50)
        return contact

    def note(self, pick: random.Random) -> str | None:
        """None for a third of them; else two to four sentences."""
        notes, chance, roll = self.country.notes, pick.random(), pick.getrandbits(40)
        if chance < 0.33:
            return None
        said = f"{_nth(notes, roll)} {_nth(notes, roll >> 10)}"
        if chance > 0.6:
            said = f"{said} {_nth(notes, roll >> 20)}"
        return f"{said}\n{_nth(notes, roll >> 30)}" if chance > 0.8 else said


def _one(values: Sequence[Any], chance: float) -> Any:
    return values[int(chance * len(values))]


def _nth(values: Sequence[Any], roll: int) -> Any:
    return values[roll % len(values)]


def pool(country: Country, seed: str, size: int) -> Pool:
    """`size` of each kind, by faker; the same for the same seed."""
    fake = Faker(country.locale)
    fake.seed_instance(f"{seed}/{country.locale}")
    state = getattr(fake, "state_abbr", None) if country.iso == "US" else None
    return Pool(
        country,
        firsts=[fake.first_name() for _ in range(size)],
        lasts=[fake.last_name() for _ in range(size)],
        companies=[fake.company() for _ in range(size)],
        streets=[re.sub(r"\s*\n\s*", ", ", fake.street_address()) for _ in range(size)],
        places=[(fake.city(), fake.postcode(), state() if state else None) for _ in range(size)],
        phones=[fake.phone_number() for _ in range(size)],
        domains=[fake.domain_name() for _ in range(size)],
    )


class World:
    """All countries, picked by their share."""

    def __init__(self, seed: str, size: int) -> None:
        self.pools = [pool(country, seed, size) for country in COUNTRIES]
        self._weighted = [found for found in self.pools for _ in range(found.country.share)]

    def somewhere(self, pick: random.Random) -> Pool:
        found: Pool = _one(self._weighted, pick.random())
        return found

    def home(self) -> Pool:
        """Where the company itself is."""
        return self.pools[0]
