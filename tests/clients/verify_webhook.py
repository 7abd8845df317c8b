"""Verifies a webhook with a library: `python verify_webhook.py <library>`; the request comes as JSON by stdin."""

import json
import sys


def main() -> None:
    asked = json.load(sys.stdin)
    if sys.argv[1] == "svix":
        from svix.webhooks import Webhook, WebhookVerificationError
    else:
        from standardwebhooks import Webhook, WebhookVerificationError
    try:
        # svix answers nothing in some versions.
        event = Webhook(asked["secret"]).verify(asked["body"], asked["headers"]) or json.loads(asked["body"])
    except WebhookVerificationError:
        print("refused")
    else:
        print("verified" if event["event"] == "task_created" else f"what? {event}")


if __name__ == "__main__":
    main()
