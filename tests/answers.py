"""Answers for `connect init` that are right and leave open what has a default."""

GOOD = """
[customer]
name = "Acme Ltd"
contact = "Ann Lee"
[[companies]]
company = "100"
name = "Acme Ltd"
country = "us"
[sage]
test_is_copy = true
integration_licence = true
username = "rillion@acme"
client_id = "test.app.sage.com"
prepaid_amortization = false
purchase_orders = false
[documents]
invoices = false
rillion_pay = false
[prime]
environment = "DEMO"
url = "https://acme.example.com/ws/webService.asmx"
username = "connect"
transport = "soap"
"""
