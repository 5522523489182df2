"""A hub's cache, laid out as the hub's own library does."""

COMMIT = "a" * 40


def keep(cache, repo, file):
    """A file of a repository in a hub's cache, laid out as there."""
    path = cache / repo / "snapshots" / COMMIT / file
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    (cache / repo / "refs").mkdir()
    (cache / repo / "refs" / "main").write_text(COMMIT)
    return path
