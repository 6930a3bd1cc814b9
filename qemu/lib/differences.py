# SPDX-License-Identifier: GPL-2.0-only
"""Reads selftests/suite/differences.toml: what may skip in the guest suite, or be missing, and why."""

import fnmatch
import tomllib

from common import ROOT, die

PATH = ROOT / "selftests" / "suite" / "differences.toml"
KEYS = {
    "skip": {"reason", "flavours", "tests"},
    "differ": {"c", "rust", "tests"},
    "lacks": {"reason", "flavours", "features"},
}


def _need(condition, text):
    if not condition:
        die(f"{PATH.name}: {text}")


def load(text):
    """The entries by kind; anything odd in the file is an error."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        die(f"{PATH.name}: {e}")
    _need(set(data) <= set(KEYS), f"unknown table, one of: {' '.join(KEYS)}")
    for kind, keys in KEYS.items():
        for entry in data.get(kind, ()):
            _need(set(entry) == keys and all(entry.values()),
                  f"each {kind} has {', '.join(sorted(keys))}")
    return data


def applies(entry, flavour):
    """Whether an entry is about this flavour: one of its patterns matches."""
    return any(fnmatch.fnmatchcase(flavour, pattern) for pattern in entry["flavours"].split())


def skips(text, flavour):
    """{test: reason} for one flavour."""
    found = {}
    for entry in load(text).get("skip", ()):
        if not applies(entry, flavour):
            continue
        for test in entry["tests"]:
            _need(test not in found, f"{test} is listed twice for {flavour}")
            found[test] = entry["reason"]
    return found


def lacks(text, flavour):
    """The features that one flavour does not offer though C does."""
    return {feature for entry in load(text).get("lacks", ())
            if applies(entry, flavour) for feature in entry["features"]}


def guest_skips(flavour):
    """{test: reason} for the guest suite on one flavour."""
    return skips(PATH.read_text(), flavour)


def guest_lacks(flavour):
    """Features that one flavour is known to lack."""
    return lacks(PATH.read_text(), flavour)
