"""docs/tls.md, whose tables are made from a run."""

from pathlib import Path

from tls.findings import Exclusion, Finding

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "tls.md"
BEGIN, END = "<!-- measured: begin -->\n", "<!-- measured: end -->\n"
SEVERITIES = ("CRITICAL", "HIGH", "MEDIUM", "LOW", "WARN")


def write(versions: dict[str, str], found: list[Finding], excluded: list[Exclusion]) -> None:
    """Rewrites the tables of the document."""
    before, _, rest = DOCUMENT.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    DOCUMENT.write_text(before + BEGIN + measured(versions, found, excluded) + END + after)


def measured(versions: dict[str, str], found: list[Finding], excluded: list[Exclusion]) -> str:
    """The tables."""
    places = list(dict.fromkeys(finding.endpoint for finding in found))
    parts = [" and ".join(f"{name} {version}" for name, version in versions.items()) + ".\n"]
    rows = [["| Listener", *SEVERITIES, "offered (sslscan) |"], ["|---", *("---" for _ in SEVERITIES), "---|"]]
    for place in places:
        here = [finding for finding in found if finding.endpoint == place]
        counts = [str(sum(finding.severity == severity for finding in here)) for severity in SEVERITIES]
        offered = [finding.text for finding in here if finding.scanner == "sslscan" and finding.name == "protocols"]
        rows.append([f"| {place}", *counts, f"{offered[0]} |"])
    parts.append("\n".join(" | ".join(row) for row in rows) + "\n")
    ciphers = dict.fromkeys(finding.text for finding in found if finding.name == "cipher")
    parts.append("Cipher suites of all listeners: " + ", ".join(f"`{text}`" for text in ciphers) + ".\n")
    lines: dict[str, list[str]] = {}
    for finding in found:
        if finding.severity in SEVERITIES:
            text = f"`{finding.name}` ({finding.scanner}, {finding.severity}): {finding.text}"
            lines.setdefault(text, []).append(finding.endpoint)
    if lines:
        parts.append("What is not simply good:\n")
        parts.append("\n".join(f"- {text} — {'; '.join(where)}" for text, where in lines.items()) + "\n")
    if excluded:
        parts.append("Of these, excluded:\n")
        parts.append("\n".join(f"- `{each.name}` ({each.scanner}): {each.reason}" for each in excluded) + "\n")
    return "\n".join(parts)
