# SPDX-License-Identifier: GPL-2.0-only
"""Compares what the guest suite printed on a C kernel and on a Rust kernel of one configuration."""

import re

import ktap
from summary import Tally

_LACKING = "not offered: "
_OFFERED = re.compile(r"^# offered: (.*)$", re.M)


def _lacking(reason):
    """The features a reason for skipping names."""
    return set(reason.removeprefix(_LACKING).split()) if reason.startswith(_LACKING) else set()


def _may_skip(c, rust, listed):
    """Whether a skip on Rust follows from what the test does on C and from the listed reason."""
    if listed and rust.reason == listed:
        return True
    if c.status != ktap.SKIP:
        return False
    both = _lacking(c.reason) | _lacking(listed)
    return rust.reason == c.reason or (both and _lacking(rust.reason) == both)


def _compare_offers(tally, c, rust, lacks):
    """Rust offers what C offers, but for what it is known to lack."""
    offers = [_OFFERED.search(text) for text in (c, rust)]
    if None in offers:
        tally.fail("a kernel did not say what it offers")
        return
    on_c, on_rust = (set(found[1].split()) for found in offers)
    for problem, names in (("offered by C only", on_c - on_rust - lacks),
                           ("offered by Rust only", on_rust - on_c),
                           ("listed as lacking, but offered", on_rust & lacks)):
        if names:
            tally.fail(f"{problem}: {' '.join(sorted(names))}")


def _compare_case(tally, name, c, rust, listed, beyond):
    """One test. Either result is None where the test did not run at all. `beyond`: why C skips what
    only Rust has."""
    if c is None or rust is None:
        tally.fail(f"only {'Rust' if c is None else 'C'} has a result: {name}")
    elif ktap.FAIL in (c.status, rust.status):
        where = " and ".join(who for who, case in (("C", c), ("Rust", rust))
                             if case.status == ktap.FAIL)
        tally.fail(f"not ok on {where}: {name}")
    elif rust.status == ktap.SKIP and _may_skip(c, rust, listed):
        tally.skipped += 1
    elif c.status == rust.status == ktap.PASS:
        tally.passed += 1
    elif beyond and c.status == ktap.SKIP and c.reason == beyond:
        tally.passed += 1
    else:
        words = (f"skipped on {who}: {case.reason}" if case.status == ktap.SKIP else f"runs on {who}"
                 for who, case in (("C", c), ("Rust", rust)))
        tally.fail(f"{name}: {', '.join(words)}")


def compare(c_text, rust_text, listed, lacks, beyond=None):
    """The tally of both runs. What Rust alone may do: skip the tests of `listed` ({test: reason}), not
    offer the features of `lacks`, and pass those of `beyond` ({test: reason}), which C skips.

    Passed: passes on both, or is of `beyond`. Skipped: skips on both for the same reason, or is listed.
    """
    tally = Tally()
    _compare_offers(tally, c_text, rust_text, lacks)
    cases = []
    for who, text in (("C", c_text), ("Rust", rust_text)):
        report = ktap.parse(text)
        cases.append({case.name: case for case in report.cases})
        for error in report.errors:
            tally.fail(f"on {who}: {error}")
    on_c, on_rust = cases
    for name in dict.fromkeys((*on_c, *on_rust)):
        _compare_case(tally, name, on_c.get(name), on_rust.get(name), listed.get(name, ""),
                      (beyond or {}).get(name, ""))
    return tally
