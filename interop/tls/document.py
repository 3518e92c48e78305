"""docs/tls.md, whose tables are made from a run."""

from pathlib import Path

from tls.findings import Exclusion, Finding

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "tls.md"
BEGIN, END = "<!-- measured: begin -->\n", "<!-- measured: end -->\n"
SEVERITIES = ("CRITICAL", "HIGH", "MEDIUM", "LOW")


def write(versions: dict[str, str], found: list[Finding], excluded: list[Exclusion]) -> None:
    """Rewrites the tables of the document."""
    before, _, rest = DOCUMENT.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    DOCUMENT.write_text(before + BEGIN + measured(versions, found, excluded) + END + after)


def measured(versions: dict[str, str], found: list[Finding], excluded: list[Exclusion]) -> str:
    """The tables."""
    places = list(dict.fromkeys(finding.endpoint for finding in found))
    parts = [" and ".join(f"{name} {version}" for name, version in versions.items()) + ".\n"]
    rows = [["| Listener", *SEVERITIES, "TLS 1.2 and 1.3 suites, in the order of the server (testssl.sh) |"]]
    rows.append(["|---", *("---" for _ in SEVERITIES), "---|"])
    for place in places:
        here = [finding for finding in found if finding.endpoint == place]
        counts = [str(sum(finding.severity == severity for finding in here)) for severity in SEVERITIES]
        suites = {finding.name: finding.text for finding in here if finding.name.startswith("cipherorder_")}
        rows.append([f"| {place}", *counts, "; ".join(f"`{text}`" for _, text in sorted(suites.items())) + " |"])
    parts.append("\n".join(" | ".join(row) for row in rows) + "\n")
    lines: dict[str, list[str]] = {}
    for finding in found:
        if finding.severity in SEVERITIES:
            text = f"`{finding.name}` ({finding.scanner}, {finding.severity}): {finding.text}"
            lines.setdefault(text, []).append(finding.endpoint)
    if lines:
        parts.append("Everything from low on:\n")
        where = {text: "; ".join(dict.fromkeys(places)) for text, places in lines.items()}
        parts.append("\n".join(f"- {text} — {listeners}" for text, listeners in where.items()) + "\n")
    if excluded:
        parts.append("Of these, excluded:\n")
        parts.append("\n".join(f"- `{each.name}` ({each.scanner}): {each.reason}" for each in excluded) + "\n")
    return "\n".join(parts)
