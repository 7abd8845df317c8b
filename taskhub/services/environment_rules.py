"""Validation of environments: the form of each value, and what does not go together."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from django.contrib.auth.models import User

from taskhub.errors import Invalid
from taskhub.executions.file_paths import is_inside
from taskhub.models import EnvironmentSpec
from taskhub.models.environment import NAME_LENGTH, NO_ENVIRONMENT, SIZES, SOURCES, Network
from taskhub.services.environment_references import wrong_names, wrong_references
from taskhub.services.environment_repositories import wrong_repository
from taskhub.services.execution_inputs import ENV_BYTES, ENV_LIMIT, env_bytes

DAY_S: Final = 86_400
VERIFY_BYTES: Final = 64 * 1024
SIZE_MOST: Final = 10_000
LIST_LENGTH: Final = 10
"""Networks, and domains: Daytona takes no more of each."""
NAME_PATTERN: Final = r"[a-z0-9](?:[a-z0-9._\-]*[a-z0-9])?"
_NAME: Final = re.compile(rf"{NAME_PATTERN}\Z")
_IMAGE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]*\Z")
_DOMAIN: Final = re.compile(r"(?:\*\.)?(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]*[a-z0-9])\Z")
_NOT_A_PATH: Final = re.compile("[\0-\x1f\x7f\ud800-\udfff]")
_NO_TEXT: Final = re.compile("[\0\ud800-\udfff]")
SETUP_BYTES: Final = 64 * 1024
KEEP_MOST: Final = 50


def guard_name(name: str) -> None:
    """Raises Invalid."""
    if name == NO_ENVIRONMENT:
        raise invalid(name=f"{NO_ENVIRONMENT} means no environment; choose another name.")
    if len(name) > NAME_LENGTH or not _NAME.match(name):
        words = f"Must be at most {NAME_LENGTH} lower-case letters and digits, with - . _ between them."
        raise invalid(name=words)


def guard_spec(spec: EnvironmentSpec) -> None:
    """Raises Invalid, whose details name the fields."""
    wrong = {**_wrong_source(spec), **_wrong_times(spec)}
    if words := _wrong_network(spec.network):
        wrong["network"] = words
    if words := _wrong_env(spec.env):
        wrong["env"] = words
    wrong |= _wrong_preparation(spec)
    wrong |= wrong_references(spec)
    if words := _wrong_accounts(spec.allowed or ()):
        wrong["allowed"] = words
    if wrong:
        raise invalid(**wrong)


def _wrong_source(spec: EnvironmentSpec) -> dict[str, str]:
    """Daytona refuses sizes with a snapshot, also with its own default one."""
    sources = [name for name in SOURCES if getattr(spec, name)]
    if len(sources) > 1:
        return dict.fromkeys(sources, "Give one of snapshot, image and dockerfile.")
    if spec.image and not _IMAGE.match(spec.image):
        return {"image": "Must be an image's reference, as python:3.12-slim."}
    sizes = [name for name in SIZES if getattr(spec, name) is not None]
    if sizes and sources in ([], ["snapshot"]):
        words = "Sizes need an image or a dockerfile: those of a snapshot are the snapshot's own."
        return dict.fromkeys(sizes, words)
    return {}


def _wrong_times(spec: EnvironmentSpec) -> dict[str, str]:
    if spec.timeout_s and spec.timeout_max_s and spec.timeout_s > spec.timeout_max_s:
        return {"timeout_s": "Must not be above timeout_max_s."}
    return {}


def _wrong_network(network: Network) -> str:
    if network.kind != "listed":
        return ""
    if not (network.cidrs or network.domains):
        return 'Name a network or a domain, or give "none".'
    if max(len(network.cidrs), len(network.domains)) > LIST_LENGTH:
        return f"At most {LIST_LENGTH} networks and {LIST_LENGTH} domains."
    for domain in network.domains:
        if not _DOMAIN.match(domain):
            return f"Not a domain in lower case, as example.com or *.example.com: {domain[:100]}"
    return next(filter(None, map(_wrong_cidr, network.cidrs)), "")


def _wrong_cidr(text: str) -> str:
    try:
        network = ipaddress.IPv4Network(text, strict=False)
    except ValueError:
        network = None
    if network is None or "/" not in text:
        return f"Not an IPv4 network, as 10.0.0.0/8: {text[:100]}"
    return "" if str(network) == text else f"Not a network: {text[:100]}. Did you mean {network}?"


def _wrong_env(env: Mapping[str, str]) -> str:
    if len(env) > ENV_LIMIT:
        return f"At most {ENV_LIMIT} variables."
    if any(map(_NO_TEXT.search, (*env, *env.values()))):
        return "Names and values must have no NUL and no half of a character (a lone surrogate)."
    if env_bytes(env) > ENV_BYTES:
        return f"At most {ENV_BYTES} bytes in all."
    return wrong_names(env)


def _wrong_script(script: str, most: int) -> str:
    if len(script.encode(errors="replace")) <= most and not _NO_TEXT.search(script):
        return ""
    return f"At most {most} bytes, without NUL and halves of characters (lone surrogates)."


def _wrong_preparation(spec: EnvironmentSpec) -> dict[str, str]:
    wrong = {} if spec.repository is None else wrong_repository(spec.repository, spec.network)
    scripts = {
        "prepare": (spec.prepare, SETUP_BYTES),
        "setup": (spec.setup, SETUP_BYTES),
        "verify": (spec.verify, VERIFY_BYTES),
    }
    wrong |= {name: words for name, (script, most) in scripts.items() if (words := _wrong_script(script, most))}
    if words := _wrong_keep(spec.keep or ()):
        wrong["keep"] = words
    return wrong


def _wrong_keep(patterns: Sequence[str]) -> str:
    if len(patterns) > KEEP_MOST:
        return f"At most {KEEP_MOST} patterns."
    wrong = [each for each in patterns if not is_inside(each) or _NOT_A_PATH.search(each)]
    return f"Must be a path in the working folder, with * and **: {wrong[0][:100]}" if wrong else ""


def _wrong_accounts(allowed: Iterable[str]) -> str:
    named = set(allowed)
    unknown = sorted(named - set(User.objects.filter(username__in=named).values_list("username", flat=True)))
    return f"Accounts that do not exist: {', '.join(unknown)}."[:500] if unknown else ""


def invalid(**words: str) -> Invalid:
    return Invalid(
        "The environment cannot be saved like this; details names the fields.",
        details={name: [said] for name, said in words.items()},
    )
