"""A hub of models on this machine: the addresses that huggingface_hub asks for, over folders."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote

Repositories = Mapping[str, Mapping[str, Path]]
"""By name: the folder of each revision, by its name; one without revisions is gated. Data: "datasets/" and the name."""
_NAME = r"((?:datasets/)?[\w.-]+/[\w.-]+)"
_INFO = re.compile(rf"/api/(?:models/)?{_NAME}(?:/revision/([^/?]+))?")
_TREE = re.compile(rf"/api/(?:models/)?{_NAME}/tree/([^/?]+)(?:/(.+))?")
_PATHS = re.compile(rf"/api/(?:models/)?{_NAME}/paths-info/([^/?]+)")
_FILE = re.compile(rf"/{_NAME}/resolve/([^/?]+)/([^?]+)")


def commit_of(repo: str, revision: str) -> str:
    """The commit that a revision of a repository points to."""
    return hashlib.sha1(f"{repo}@{revision}".encode(), usedforsecurity=False).hexdigest()


@contextmanager
def hub_of(repositories: Repositories) -> Iterator[tuple[str, list[str]]]:
    """Serve the repositories, and yield the address and the paths of all files that were downloaded so far."""
    fetched: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        do_POST = do_GET

        def _answer(self, body: bool) -> None:
            path = self.path.partition("?")[0]
            if found := _FILE.fullmatch(path):
                self._file(found[1], found[2], found[3], body)
            elif found := _TREE.fullmatch(path):
                folder = self._folder(found[1], found[2])
                if folder and found[3] and not (folder / unquote(found[3])).is_dir():
                    self._send(404, b"", body, {"X-Error-Code": "EntryNotFound"})
                elif folder:
                    place = folder / unquote(found[3] or "")
                    inside = _files(place) if "recursive=true" in self.path.lower() else sorted(place.iterdir())
                    self._send(200, json.dumps([_entry(file, folder) for file in inside]).encode(), body)
            elif found := _PATHS.fullmatch(path):
                folder = self._folder(found[1], found[2])
                wanted = self.rfile.read(int(self.headers["Content-Length"])).decode()
                names = parse_qs(wanted).get("paths", []) if "=" in wanted else json.loads(wanted)["paths"]
                if folder:
                    there = [folder / name for name in names if (folder / name).exists()]
                    self._send(200, json.dumps([_entry(file, folder) for file in there]).encode(), body)
            elif found := _INFO.fullmatch(path):
                repo, revision = found[1], found[2] or "main"
                if folder := self._folder(repo, revision):
                    names = [{"rfilename": file.relative_to(folder).as_posix()} for file in _files(folder)]
                    called, sha = repo.removeprefix("datasets/"), commit_of(repo, self._named(repo, revision))
                    info = {"id": called, "modelId": called, "sha": sha, "siblings": names}
                    self._send(200, json.dumps(info).encode(), body)
            else:
                self._send(404 if path != "/" else 200, b"", body)

        def _named(self, repo: str, revision: str) -> str:
            """The name of a revision, which may be asked for by its commit."""
            by_commit = {commit_of(repo, name): name for name in repositories[repo]}
            return by_commit.get(revision, revision)

        def _folder(self, repo: str, revision: str) -> Path | None:
            if repo not in repositories:
                self._send(404, b"", True, {"X-Error-Code": "RepoNotFound"})
                return None
            if not repositories[repo]:
                self._send(403, b"", True, {"X-Error-Code": "GatedRepo"})
                return None
            name = self._named(repo, revision)
            if name not in repositories[repo]:
                self._send(404, b"", True, {"X-Error-Code": "RevisionNotFound"})
                return None
            return repositories[repo][name]

        def _file(self, repo: str, revision: str, name: str, body: bool) -> None:
            folder = self._folder(repo, revision)
            if folder is None:
                return
            commit = commit_of(repo, self._named(repo, revision))
            if not (folder / name).is_file():
                self._send(404, b"", body, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
                return
            content = (folder / name).read_bytes()
            if body:
                fetched.append(f"{repo}/{self._named(repo, revision)}/{name}")
            etag = hashlib.sha256(content).hexdigest()
            self._send(200, content, body, {"X-Repo-Commit": commit, "ETag": f'"{etag}"'})

        def _send(self, code: int, content: bytes, body: bool, headers: Mapping[str, str] | None = None) -> None:
            self.send_response(code)
            for key, value in (headers or {}).items():
                self.send_header(key, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if body:
                self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", fetched
    finally:
        server.shutdown()
        server.server_close()


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())


def _entry(file: Path, folder: Path) -> dict[str, object]:
    if file.is_dir():
        return {"type": "directory", "path": file.relative_to(folder).as_posix(), "size": 0, "oid": "0" * 40}
    oid = hashlib.sha1(file.read_bytes(), usedforsecurity=False).hexdigest()
    return {"type": "file", "path": file.relative_to(folder).as_posix(), "size": file.stat().st_size, "oid": oid}
