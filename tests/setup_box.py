"""A sandbox's side of the answers for `connect init`."""

from __future__ import annotations

from tests.world import Sandbox


def answers_for(box: Sandbox, *, more: str = "") -> str:
    """A file of answers for company 100 of a sandbox, all jobs but payments; secrets as in `tests.world.SECRETS`."""
    sage, prime = box.sage, box.prime
    return f"""
[customer]
name = "Acme Ltd"
contact = "Ann Lee"
timezone = "America/New_York"
[[companies]]
company = "100"
name = "Acme Ltd"
country = "US"
[sage]
test_is_copy = true
integration_licence = true
username = "{sage["username"]}"
client_id = "{sage["client_id"]}"
client_secret = "env:T_SAGE_SECRET"
base_url = "{sage["base_url"]}"
slots = 6
prepaid_amortization = true
purchase_orders = false
[documents]
rillion_pay = false
start_on = 2026-01-01
[prime]
environment = "{prime["environment"]}"
url = "{prime["url"]}"
username = "{prime["username"]}"
password = "env:T_PRIME_PASSWORD"
rest_url = "{prime["rest_url"]}"
rest_identity_url = "{prime["identity_url"]}"
rest_tenant = "{prime["tenant"]}"
rest_client_id = "{prime["client_id"]}"
rest_client_secret = "env:T_PRIME_SECRET"
{more}"""
