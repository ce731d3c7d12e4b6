"""What was answered and Connect does not serve, or that is not there yet and must be: each with whose turn it is and what to do.

Source: the guide's requirements, its list of functions, and the comments of its questionnaire.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from connect.setup.questions import Answers

# North America, Western Europe, the Nordic countries: what the guide calls released.
REGIONS: Final = frozenset(
    {
        *("US", "CA"),
        *("AT", "BE", "CH", "DE", "ES", "FR", "GB", "IE", "IT", "LI", "LU", "MC", "NL", "PT"),
        *("DK", "FI", "IS", "NO", "SE"),
    }
)


class Limit(NamedTuple):
    """`about`: the guide's number of the question; `stops`: nothing can be started before it is mended."""

    about: str
    text: str
    owner: str
    do: str
    stops: bool = False

    @property
    def words(self) -> str:
        return f"{self.text} {self.do} (to be done by: {self.owner})"


def limits(answers: Answers) -> list[Limit]:
    """In the order of the questions."""
    found = []
    strangers = [one for one in answers.companies if one.country not in REGIONS]
    if strangers:
        listed = ", ".join(f"{one.name} ({one.country})" for one in strangers)
        found.append(
            Limit(
                "6",
                f"{listed}: Connect is released for North America (US, Canada), Western Europe and the Nordic countries, and not for this.",
                "Rillion",
                "Have it confirmed before the agreement; tax and bank details of other countries have not been tried.",
            )
        )
    if len({one.country for one in answers.companies}) > 1 or len(answers.companies) > 1:
        found.append(
            Limit(
                "5",
                f"{len(answers.companies)} companies in {len({one.country for one in answers.companies})} countries: the standard "
                "delivery is one company in one country.",
                "Rillion",
                "Say in the offer what the others cost.",
            )
        )
    if not answers["sage.test_is_copy"]:
        found.append(
            Limit(
                "7",
                "The TEST company in Sage is no current copy of production: what is tried there proves little.",
                "customer",
                "Let Sage refresh the TEST company from production before the acceptance test.",
            )
        )
    if not answers["sage.integration_licence"]:
        found.append(
            Limit(
                "8",
                "There is no integration licence: Sage lets no program in without one.",
                "customer",
                "Order it from Sage or its partner; nothing can be started before.",
                stops=True,
            )
        )
    if answers["sage.prepaid_amortization"]:
        found.append(
            Limit(
                "10",
                "Prepaid Amortization is in use, and Connect neither imports its templates nor sends periods with an invoice.",
                "customer",
                "Amortize in Sage by hand, on the bill that Connect has booked.",
            )
        )
    if answers["sage.purchase_orders"]:
        users = ", ".join(answers["sage.purchase_order_companies"] or ()) or "all companies"
        found.append(
            Limit(
                "11",
                f"Purchase orders are in use ({users}), and Connect imports neither orders nor receipts: Prime cannot match invoices with "
                "them.",
                "customer",
                "Keep order invoices out of this solution, or approve them in Prime without an order.",
            )
        )
    return found
