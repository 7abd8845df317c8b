"""OAuth 2 authorization server for this hub's `/mcp`, with django-oauth-toolkit.

A *grant* is what an account has agreed to: a client, a role, an end. It is a row of `ApiToken` that no bearer text
opens. Its public id is the id of the toolkit's family of tokens: every access and refresh token leads to it, and
tickets, streams, claims and the audit know it as they know a token. Deleting the row ends all of them.

`validator.py` has the rules of codes and tokens, `access_tokens.py` opens `/mcp` with one, `consent.py` is the page,
`registration.py` and `client_documents.py` are the two ways in which clients become known, `urls.py` the addresses.
"""
