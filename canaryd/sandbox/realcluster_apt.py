"""An apt-get with lists of its own, source packages among them, that changes nothing of the system."""

from __future__ import annotations

import re
from pathlib import Path

DEBIAN = "bookworm"

_SUITES = re.compile(rf"{DEBIAN}(-updates|-security|/updates)?$")


def private_apt(root: Path) -> list[str]:
    """The head of a command: an apt-get that reads a copy of the machine's sources and writes only in `root`.

    LookupError where the machine's sources do not list Debian 12.
    """
    state = root / "apt"
    for folder in ("lists/partial", "cache/archives/partial", "sources"):
        (state / folder).mkdir(parents=True)
    listed = Path("/etc/apt/sources.list")
    originals = [listed, *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    found = 0
    for original in (each for each in originals if each.is_file()):
        text = original.read_text()
        wanted = source_stanzas(text) if original.suffix == ".sources" else source_lines(text)
        (state / "sources" / original.name).write_text(wanted)
        found += bool(wanted)
    if not found:
        raise LookupError("apt's sources do not list Debian 12.")
    options = {
        "Dir::Etc::SourceList": "/dev/null",
        "Dir::Etc::SourceParts": state / "sources",
        "Dir::State::Lists": state / "lists",
        "Dir::Cache": state / "cache",
        "APT::Sandbox::User": "root",  # the user _apt may not enter a home folder
        "Acquire::Retries": "3",
    }
    return ["apt-get", "-q", *(word for key, value in options.items() for word in ("-o", f"{key}={value}"))]


def source_lines(text: str) -> str:
    """Of a `sources.list`, the lines of Debian 12, each also as `deb-src`."""
    kept = []
    for line in text.splitlines():
        found = re.match(r"\s*deb\s+(?P<options>\[[^]]*\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+\S", line)
        if found and _SUITES.match(found["suite"]):
            kept += [line.strip(), re.sub(r"^\s*deb", "deb-src", line)]
    return "".join(f"{line}\n" for line in kept)


def source_stanzas(text: str) -> str:
    """Of a deb822 `.sources` file, the stanzas of Debian 12, each with source packages too."""
    kept = []
    for stanza in re.split(r"\n\s*\n", text):
        suites = re.search(r"^Suites:(.*)$", stanza, re.MULTILINE)
        enabled = re.search(r"^Enabled:\s*(no|false)", stanza, re.MULTILINE | re.IGNORECASE) is None
        if suites and enabled and all(_SUITES.match(suite) for suite in suites[1].split()):
            kept.append(re.sub(r"^Types:.*$", "Types: deb deb-src", stanza.strip(), flags=re.MULTILINE))
    return "".join(f"{stanza}\n\n" for stanza in kept)
