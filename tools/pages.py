"""Tables that tools keep in documents, between two marks: whoever writes some of the lines leaves the others."""

import subprocess


def commit(root):
    """What HEAD is called."""
    said = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=root, check=True, capture_output=True, text=True)
    return said.stdout.strip()


def merge(page, name, head, lines, key, above=""):
    """Puts lines, lists of cells, into the table `name` of a page; those of the same key go. `key` also orders them."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, rest = page.read_text().split(begin)
    known, rest = rest.split(end)
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in known.splitlines() if line.startswith("| ")]
    kept = {key(cells): cells for cells in [*table[1:], *lines]}
    written = [head, ["---"] * len(head), *(kept[at] for at in sorted(kept))]
    text = "\n".join("|" + "|".join(cell if cell == "---" else f" {cell} " for cell in cells) + "|" for cells in written)
    page.write_text(f"{before}{begin}\n{above}{text}\n{end}{rest}")
