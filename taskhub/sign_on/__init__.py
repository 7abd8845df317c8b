"""Sign-on of people with an OpenID provider, by mozilla-django-oidc; switched on by `TASKHUB_OIDC_ISSUER`.

`discovery.py` reads the provider's document, `backend.py` checks what it says about a person, `views.py` leads there
and back. Accounts are found by issuer and subject, never by mail address or name (`taskhub/services/sign_on.py`).
"""
