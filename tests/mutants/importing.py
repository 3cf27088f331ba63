"""The import hook of a mutated process: hands out patched text in place of what stands in the product's files."""

import importlib.abc
import importlib.machinery
import os
import types
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from typing import Any

from tests.mutants.catalogue import patches_of
from tests.mutants.patching import PACKAGE, patched


def install(names: Sequence[str], seen: str) -> None:
    """From now on the files of these mutants and scenarios are patched; which were really used is noted in `seen`."""
    patches = patches_of(names)
    texts = {
        file: patched(file, [patch for patch in patches if patch.file == file])
        for file in {patch.file for patch in patches}
    }
    import sys

    sys.meta_path.insert(0, _Finder(texts, Path(seen)))


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, texts: dict[str, str], seen: Path) -> None:
        self._texts, self._seen = texts, seen

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith("engagement_stream."):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.origin is None or not Path(spec.origin).is_relative_to(PACKAGE):
            return spec
        file = Path(spec.origin).relative_to(PACKAGE).as_posix()
        folder = Path(file).parent.as_posix()
        beside = {Path(name).name: text for name, text in self._texts.items() if _lies_in(name, folder)}
        if file in self._texts or (spec.submodule_search_locations and beside):
            spec.loader = _Loader(fullname, spec.origin, file, self._texts.get(file), beside, self._seen)
        return spec


def _lies_in(name: str, folder: str) -> bool:
    """Whether it is a file of this folder that is read, not imported."""
    return Path(name).parent.as_posix() == folder and not name.endswith(".py")


class _Loader(SourceFileLoader):
    """Compiles the patched text, past any bytecode of the original."""

    def __init__(
        self, fullname: str, path: str, file: str, text: str | None, beside: dict[str, str], seen: Path
    ) -> None:
        super().__init__(fullname, path)
        self._file, self._text, self._beside, self._seen = file, text, beside, seen

    def get_code(self, fullname: str) -> types.CodeType | None:
        if self._text is None:
            return super().get_code(fullname)
        _note(self._seen, self._file)
        code: types.CodeType = self.source_to_code(self._text, self.path)
        return code

    def get_resource_reader(self, name: str | None = None) -> Any:
        del name
        return _Folder(Path(self.path).parent, self._beside, self._seen)


class _Folder:
    """A package's folder as `importlib.resources` sees it, with some files' texts replaced."""

    def __init__(self, path: Path, texts: dict[str, str], seen: Path) -> None:
        self._path, self._texts, self._seen = path, texts, seen

    def files(self) -> "_Folder":
        return self

    def joinpath(self, *names: str) -> Any:
        text = self._texts.get("/".join(names))
        if text is None:
            return self._path.joinpath(*names)
        _note(self._seen, (self._path / names[-1]).relative_to(PACKAGE).as_posix())
        return _Text(text)


class _Text:
    def __init__(self, text: str) -> None:
        self._text = text

    def read_text(self, encoding: str | None = None) -> str:
        del encoding
        return self._text


def _note(seen: Path, file: str) -> None:
    with seen.open("a") as notes:
        notes.write(f"{file}\n")
        notes.flush()
        os.fsync(notes.fileno())
