"""The account backend's former address, kept for one release.

Django stores the dotted path of the backend in every session and refuses sessions whose path is not in
`AUTHENTICATION_BACKENDS`: a changed setting would sign everyone out.
"""

from taskhub.auth.backends import AccountBackend

__all__ = ["AccountBackend"]
