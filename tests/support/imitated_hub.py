"""The project's own imitation of the Hugging Face Hub's HTTP, as far as huggingface_hub asks for it to download files.

Written after the Hub's documentation and the requests of huggingface_hub; it is not the Hub. Two routes answer:
`/api/models/OWNER/NAME[/revision/REVISION]`, the facts of a repository, and `/OWNER/NAME/resolve/REVISION/PATH`, a
file, which redirects to `/cdn/...` of another host name for those that the Hub keeps in Git LFS.
"""

from __future__ import annotations

import hashlib
import http.server
import json
import re
import urllib.parse
from dataclasses import dataclass, field
from typing import Dict

TOKEN = "hf_imitated"
LFS = (".safetensors", ".bin", ".pth", ".onnx", ".npz", ".data")


@dataclass
class Repository:
    """Commits by revision, and the files of each commit."""

    revisions: Dict[str, str] = field(default_factory=dict)
    commits: Dict[str, Dict[str, bytes]] = field(default_factory=dict)
    private: bool = False
    gated: bool = False

    def commit(self, files, *revisions):
        name = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        self.commits[name] = files
        self.revisions.update(dict.fromkeys((*revisions, name), name))
        return name


class Handler(http.server.BaseHTTPRequestHandler):
    """`server.fault` makes it answer 503 to everything, or send other bytes; `server.cuts` bodies are cut."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        self.server.requests.append((self.command, self.path, dict(self.headers)))
        path, _, query = self.path.partition("?")
        if self.server.fault == "503":
            return self.answer(503)
        if path.startswith("/cdn/"):
            return self.body(self.server.cdn[path])
        api = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?", path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        match = api or file
        if match is None:
            return self.answer(404)
        repository = self.server.repositories.get(match.group(1))
        given = self.headers.get("Authorization")
        if given not in (None, f"Bearer {TOKEN}"):
            return self.refuse(401, "", "Invalid credentials in Authorization header")
        if repository is None or (repository.private and given is None):
            return self.refuse(404 if given else 401, "RepoNotFound", "Repository not found")
        revision = urllib.parse.unquote(match.group(2) or "main")
        commit = repository.revisions.get(revision)
        if commit is None:
            return self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        if api:
            return self.facts(match.group(1), repository, commit, "blobs=" in query)
        if repository.gated and given is None:
            return self.refuse(401, "GatedRepo", "Access to model is restricted.")
        return self.file(repository.commits[commit], urllib.parse.unquote(file.group(3)), commit)

    def facts(self, name, repository, commit, sizes):
        siblings = []
        for path, content in sorted(repository.commits[commit].items()):
            row = {"rfilename": path}
            if sizes:
                row.update(size=self.server.stated.get(path, len(content)), blobId=git_hash(content))
                if path.endswith(LFS):
                    row["lfs"] = {"sha256": sha256(content), "size": row["size"], "pointerSize": 134}
            siblings.append(row)
        facts = {"_id": "1", "id": name, "modelId": name, "sha": commit, "siblings": siblings, "tags": []}
        facts.update(private=repository.private, gated=repository.gated and "manual", disabled=False, downloads=0)
        self.answer(200, json.dumps(facts).encode(), {"Content-Type": "application/json"})

    def file(self, files, path, commit):
        if path not in files:
            return self.refuse(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": commit})
        content = files[path]
        headers = {"X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        if not path.endswith(LFS):
            return self.answer(200, content, dict(headers, ETag=f'"{git_hash(content)}"'))
        place = "/cdn/" + sha256(content)
        self.server.cdn[place] = content
        headers.update({"X-Linked-Size": str(len(content)), "X-Linked-ETag": f'"{sha256(content)}"'})
        return self.answer(302, b"", dict(headers, Location=f"{self.server.cdn_url}{place}?signature=x"))

    def body(self, content):
        fault, asked = self.server.fault, re.match(r"bytes=(\d+)-$", self.headers.get("Range", ""))
        start = int(asked.group(1)) if asked else 0
        if start and start >= len(content):
            return self.answer(416)
        sent = content[start:]
        headers = {"ETag": f'"{sha256(content)}"', "Accept-Ranges": "bytes"}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        if fault == "other bytes":
            sent = sent[:-1] + bytes([sent[-1] ^ 1])
        cut = self.server.cuts > 0
        self.server.cuts -= cut
        self.answer(206 if start else 200, sent, headers, cut)

    def refuse(self, status, code, message, headers=None):
        self.answer(status, b"", dict(headers or {}, **{"X-Error-Code": code, "X-Error-Message": message}))

    def answer(self, status, content=b"", headers=None, cut=False):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if cut else content)
        self.close_connection = cut

    def log_message(self, *_):
        pass


def made():
    """Make a server, which is not yet running."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None
    server.daemon_threads = True
    server.url, server.cdn_url = (f"http://{host}:{server.server_address[1]}" for host in ("127.0.0.1", "localhost"))
    server.repositories, server.cdn, server.requests, server.stated, server.fault, server.cuts = {}, {}, [], {}, "", 0
    return server


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def git_hash(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
