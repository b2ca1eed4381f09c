"""Makes a tenant with one of each thing, so that requests find something. Prints shell variables."""

import sys

import requests

API = sys.argv[1] + "/api/v1"
# Not the password of the examples, or one of them would change it.
EMAIL, PASSWORD = "owner@schemathesis.example", "quoin-Reef5-lantern"


def call(method, path, **body):
    answer = requests.request(method, API + path, json=body or None, headers=HEADERS, timeout=30)
    if not answer.ok:
        sys.exit(f"{method} {path}: {answer.status_code} {answer.text}")
    return answer.json()


HEADERS = {}
owner = call("POST", "/auth/register", email=EMAIL, password=PASSWORD, name="O", tenantName="Seeded")
HEADERS["authorization"] = f"Bearer {owner['accessToken']}"
role = next(role for role in call("GET", "/roles")["data"] if role["name"] == "Member")
call("POST", "/service-accounts", name="seeded", roleIds=[role["id"]])
key = call("POST", "/api-keys", name="seeded", scopes=["tenants:read"])
# The receiver is the API itself: it answers 404 at once, and nobody outside is called.
webhook = call("POST", "/webhooks", url=sys.argv[1] + "/receiver", events=["*"])
delivery = call("POST", f"/webhooks/{webhook['id']}/test")
replay = call("POST", f"/webhooks/{webhook['id']}/replay", since="2026-01-01T00:00:00Z")
call("POST", "/event-types", name="order.seeded", schema={"type": "object", "required": ["orderId"]})
link = call("POST", "/portal-links", customer="seeded")

print(f"EMAIL={EMAIL}\nPASSWORD={PASSWORD}\nTENANT={owner['tenant']['id']}")
print(f"DEVICE={owner['deviceToken']}")
print(f"KEY={key['id']}\nWEBHOOK={webhook['id']}")
print(f"DELIVERY={delivery['id']}\nREPLAY={replay['id']}\nLINK={link['id']}")
