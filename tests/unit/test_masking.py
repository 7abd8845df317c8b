"""Secret values in text: masked wherever they stand, however the text is cut, and never in part."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from sandboxes import log_follower
from sandboxes.log_follower import LineCounter
from sandboxes.log_marks import LogMarks
from taskhub.executions.executor import SPLIT_MARK, LogTokens
from taskhub.executions.masking import MASK, Mask, MaskAll, Secret, secret_lines

TOKENS = LogTokens("e" * 32, "a" * 32)
CHANGED = f"\x1b_{TOKENS.run}F3\x1b\\\n"
END = f"\x1b_{TOKENS.end}E7 3 2 -\x1b\\\n"
# Few letters: so values are found, overlap, and hold each other.
letters = st.text("abX", min_size=4, max_size=9)
values = st.lists(letters, min_size=1, max_size=4)
texts = st.lists(st.one_of(st.text("abX \n", max_size=6), letters), max_size=12).map("".join)


def masked_by_hand(text: str, secrets: list[str]) -> str:
    """Each line: every character of every occurrence is hidden, and what overlaps is one mask."""
    return "\n".join(_masked_line(line, secrets) for line in text.split("\n"))


def _masked_line(line: str, secrets: list[str]) -> str:
    spans = sorted(
        (at, at + len(secret)) for secret in secrets for at in range(len(line)) if line.startswith(secret, at)
    )
    merged: list[list[int]] = []
    for start, end in spans:
        if merged and start < merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([start, end])
    shown, at = "", 0
    for start, end in merged:
        shown += line[at:start] + MASK
        at = end
    return shown + line[at:]


def test_values_are_masked_line_by_line_longest_first() -> None:
    key = "-----BEGIN KEY-----\r\n  c2VjcmV0  \n}\n\nend of it\n"
    assert secret_lines([key, "c2VjcmV0cy", "end of it"]) == [
        "-----BEGIN KEY-----",
        "c2VjcmV0cy",
        "end of it",
        "c2VjcmV0",
    ]
    assert Mask([key]).apply("x}\n>c2VjcmV0<\n-----BEGIN KEY----- }") == f"x}}\n>{MASK}<\n{MASK} }}"
    assert Mask(["hunter2", "hunter2000"]).apply("hunter2000 hunter2") == f"{MASK} {MASK}"


def test_overlapping_values_leave_nothing_of_either() -> None:
    assert Mask(["abcd", "cdefgh"]).apply("-abcdefgh-") == f"-{MASK}-"
    assert Mask(["aaaa"]).apply("-aaaaaa-") == f"-{MASK}-"
    assert Mask(["abcd"]).apply("abcdabcd") == MASK + MASK


def test_text_without_a_value_is_not_copied() -> None:
    text = "nothing here"
    assert Mask(["hunter2"]).apply(text) is text


@given(texts, values)
@example("aaaaaaaab", ["aaaa", "aaab"])
def test_masking_is_what_it_is_by_hand(text: str, secrets: list[str]) -> None:
    assert Mask(secrets).apply(text) == masked_by_hand(text, secrets)


@given(st.text("abX", max_size=60), values, st.lists(st.integers(0, 60), max_size=6), st.integers(0, 5))
def test_line_that_is_masked_in_parts_is_the_masked_line(
    line: str, secrets: list[str], places: list[int], hold: int
) -> None:
    mask = Mask(secrets)
    shown, rest, covered = "", "", 0
    for start, stop in itertools.pairwise(sorted({0, *(min(place, len(line)) for place in places), len(line)})):
        masked, rest, covered = mask.begun(rest + line[start:stop], covered, hold)
        shown += masked
        assert len(rest) <= max(hold, mask.longest - 1)  # what waits is bounded
    assert shown + mask.rest(rest, covered) == masked_by_hand(line, secrets)


def reading(pieces: list[str], secrets: list[str], *, marks: bool) -> list[str]:
    counter = LineCounter(LogMarks(TOKENS) if marks else None, Mask(secrets))
    lines = [line for piece in pieces for line in counter.feed([("stdout", piece)])]
    return [line.line for line in [*lines, *counter.finish()]]


@given(texts, values, st.lists(st.integers(0, 90), max_size=8), st.booleans(), st.sampled_from([12, 60, 400]))
def test_log_is_masked_whatever_pieces_it_comes_in(
    text: str, secrets: list[str], places: list[int], marks: bool, limit: int
) -> None:
    cuts = sorted({0, *(min(place, len(text)) for place in places), len(text)})
    pieces = [text[start:stop] for start, stop in itertools.pairwise(cuts)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log_follower, "LINE_BYTES", limit)
        patch.setattr(log_follower, "MARK_CHARS", 3)
        found = reading(pieces, secrets, marks=marks)
        assert found == reading([text], secrets, marks=marks)  # where a line is split does not depend on the pieces
    whole = "".join(line.removesuffix(SPLIT_MARK) if line.endswith(SPLIT_MARK) else f"{line}\n" for line in found)
    expected = masked_by_hand(text, secrets)
    assert whole == (expected if expected.endswith("\n") or not expected else f"{expected}\n")


@given(st.integers(1, 8), st.integers(0, 200))
def test_value_that_a_mark_stands_in_is_masked(at: int, padding: int) -> None:
    secret = "hunter2-x"
    text = "." * padding + secret[:at] + CHANGED + secret[at:] + f" done{END}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log_follower, "LINE_BYTES", 60)
        found = reading(list(text), [secret], marks=True)
    assert "".join(line.removesuffix(SPLIT_MARK) for line in found) == "." * padding + f"{MASK} done"


def shown_unfinished(text: str, secrets: list[str]) -> str:
    counter = LineCounter(LogMarks(TOKENS), Mask(secrets))
    counter.feed([("stdout", f"\x1b_{TOKENS.run}P\x1b\\{text}\n")])
    return "".join(line.line for line in counter.partials())


@given(texts.map(lambda text: text.replace("\n", "")), values)
def test_unfinished_line_shows_no_part_of_a_value(text: str, secrets: list[str]) -> None:
    """Whatever comes next, what is shown is the beginning of the masked line."""
    assume(text)
    shown = shown_unfinished(text, secrets)
    for secret in secrets:
        for known in range(len(secret)):
            if text.endswith(secret[:known]):
                whole = masked_by_hand(text + secret[known:], secrets)
                assert whole.startswith(shown)
    assert masked_by_hand(text + "\n", secrets).startswith(shown)


def test_unfinished_line_whose_beginning_is_missing_shows_no_end_of_a_value() -> None:
    text = "er2" + "." * 1997  # as the runner sends the end of a long line
    assert "er2" not in shown_unfinished(text, ["hunter2"])
    assert "er2" in shown_unfinished(text[:1000], ["hunter2"])
    assert shown_unfinished("z" * 2000, ["a" * 3000 + "z" * 3000]) == ""


def test_prompt_is_shown_while_it_waits() -> None:
    assert shown_unfinished("Password: ", ["hunter2"]) == "Password: "
    assert shown_unfinished("Password: hunt", ["hunter2"]) == "Password: "
    assert shown_unfinished("Password: hunter2", ["hunter2"]) == f"Password: {MASK}"


def test_values_that_cannot_be_decrypted_hide_every_line() -> None:
    counter = LineCounter(None, MaskAll())
    text = "one\n\n" + "long " * 40_000 + "\nend"
    lines = [line for at in range(0, len(text), 9000) for line in counter.feed([("stdout", text[at : at + 9000])])]
    assert [line.line for line in [*lines, *counter.finish()]] == [MASK, "", MASK, MASK]


def test_secret_does_not_show_itself() -> None:
    assert "hunter2" not in repr(Secret("hunter2"))
