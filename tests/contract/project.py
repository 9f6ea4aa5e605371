"""A folder of TypeScript, judged by TypeScript's compiler with the types of one version of node-ipc."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from interop.install import Peer

__all__ = ["Compiler", "Project"]

STRICT = {
    "strict": True,
    "noUncheckedIndexedAccess": True,
    "exactOptionalPropertyTypes": True,
    "noImplicitReturns": True,
    "erasableSyntaxOnly": True,  # so that Node runs it as it stands
    "target": "es2022",
    "module": "nodenext",
    "moduleResolution": "nodenext",
    "esModuleInterop": True,
    "types": ["node"],
}


class Compiler:
    """The compiler in a process of its own: it starts once, and reads once what each project takes from npm."""

    def __init__(self, tools: Path) -> None:
        self._process = subprocess.Popen(
            ["node", str(Path(__file__).parent / "node" / "compiler.cjs"), str(tools / "typescript")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    def compile(self, folder: Path) -> str:
        """What tsc prints of the folder's ``tsconfig.json``; nothing where all is well."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{json.dumps(str(folder))}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the compiler has ended: what it said is on standard error"
        return str(json.loads(answer))

    def close(self) -> None:
        self._process.communicate("\n", timeout=60)


class Project:
    """A folder with TypeScript in it."""

    def __init__(self, folder: Path, tools: Path, peers: dict[str, Peer], compiler: Compiler) -> None:
        self.folder = folder
        self._tools = tools
        self._peers = peers
        self._compiler = compiler
        self.write("package.json", '{"type": "module"}')

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, "utf-8")

    def compile(self, version: str, *files: str, **options: Any) -> str:
        """What the compiler has to say; nothing where all is well. ``version`` is of node-ipc.

        With ``noEmit=False`` it writes JavaScript then.
        """
        given: dict[str, Any] = {**STRICT, "noEmit": True, "typeRoots": [str(self._tools / "@types")], **options}
        if version == "v9":
            given["paths"] = {"node-ipc": [str(self._tools / "@types/node-ipc/index.d.ts")]}
        else:  # it has no types of its own: they are read off its source
            source = self._peers[version].folder / "node_modules/node-ipc/node-ipc.js"
            given |= {"paths": {"node-ipc": [str(source)]}, "allowJs": True, "maxNodeModuleJsDepth": 2}
        self.write("tsconfig.json", json.dumps({"compilerOptions": given, "files": files}))
        return self._compiler.compile(self.folder)
