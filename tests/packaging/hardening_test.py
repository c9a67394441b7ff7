"""What a release build promises about memory faults, read off its compile commands and ELF files.

usage: hardening_test.py BUILD_DIR BINARY...
"""

import json
import pathlib
import struct
import sys
import unittest

BUILD = pathlib.Path(sys.argv[1])
BINARIES = [pathlib.Path(path) for path in sys.argv[2:]]
PT_LOAD, PT_DYNAMIC, PT_GNU_STACK, PT_GNU_RELRO = 1, 2, 0x6474E551, 0x6474E552
DT_NEEDED, DT_RPATH, DT_TEXTREL, DT_RUNPATH, DT_FLAGS, DT_FLAGS_1 = 1, 15, 22, 29, 30, 0x6FFFFFFB
DF_BIND_NOW, DF_1_NOW, DF_1_PIE, WRITE, EXECUTE = 8, 1, 0x8000000, 2, 1
FLAGS = {"-fstack-protector-strong", "-fstack-clash-protection", "-D_FORTIFY_SOURCE=3",
         "-D_GLIBCXX_ASSERTIONS", "-Werror=format-security"}


class Elf:
    """As much of a 64-bit little-endian ELF file as the tests ask about."""

    def __init__(self, path):
        self.data = path.read_bytes()
        assert self.data[:6] == b"\x7fELF\x02\x01", path
        self.type, self.machine = struct.unpack_from("<HH", self.data, 16)
        (self.entry, phoff, shoff, _, _, phsize, phnum, shsize, shnum,
         _) = struct.unpack_from("<QQQIHHHHHH", self.data, 24)
        self.segments = []  # (type, flags, offset, file size, address)
        for i in range(phnum):
            kind, flags, offset, address, _, size = struct.unpack_from(
                "<IIQQQQ", self.data, phoff + i * phsize)
            self.segments.append((kind, flags, offset, size, address))
        self.sections = [struct.unpack_from("<IIQQQQIIQQ", self.data, shoff + i * shsize)
                         for i in range(shnum)]
        offset, size = next((s[2], s[3]) for s in self.segments if s[0] == PT_DYNAMIC)
        entries = struct.iter_unpack("<QQ", self.data[offset:offset + size])
        self.dynamic = {}
        for tag, value in entries:
            self.dynamic.setdefault(tag, value)

    def symbols(self, section_type):
        """(name, value) of SHT_SYMTAB (2) or SHT_DYNSYM (11)."""
        for _, kind, _, _, offset, size, link, _, _, entry in self.sections:
            if kind != section_type:
                continue
            strings = self.sections[link][4]
            for at in range(offset, offset + size, entry):
                name, _, _, _, value, _ = struct.unpack_from("<IBBHQQ", self.data, at)
                end = self.data.index(b"\0", strings + name)
                yield self.data[strings + name:end].decode(), value

    def code_at(self, address, size):
        for kind, _, offset, length, start in self.segments:
            if kind == PT_LOAD and start <= address < start + length:
                return self.data[offset + address - start:][:size]
        return b""


class Hardening(unittest.TestCase):
    def each(self):
        self.assertTrue(BINARIES)
        for path in BINARIES:
            with self.subTest(binary=path.name):
                yield Elf(path)

    def test_position_independent(self):
        for elf in self.each():
            self.assertEqual(elf.type, 3)  # ET_DYN
            self.assertTrue(elf.dynamic.get(DT_FLAGS_1, 0) & DF_1_PIE)
            self.assertNotIn(DT_TEXTREL, elf.dynamic)

    def test_relocations_are_done_at_start_and_read_only(self):
        for elf in self.each():
            self.assertIn(PT_GNU_RELRO, [segment[0] for segment in elf.segments])
            self.assertTrue(elf.dynamic.get(DT_FLAGS, 0) & DF_BIND_NOW
                            or elf.dynamic.get(DT_FLAGS_1, 0) & DF_1_NOW)

    def test_nothing_is_writable_and_executable(self):
        for elf in self.each():
            stack = [s[1] for s in elf.segments if s[0] == PT_GNU_STACK]
            self.assertEqual(len(stack), 1)
            self.assertFalse(stack[0] & EXECUTE)
            for kind, flags, *_ in elf.segments:
                self.assertFalse(kind == PT_LOAD and flags & WRITE and flags & EXECUTE)

    def test_libraries_come_from_the_system_alone(self):
        for elf in self.each():
            self.assertNotIn(DT_RPATH, elf.dynamic)
            self.assertNotIn(DT_RUNPATH, elf.dynamic)

    def test_checked_calls_are_in_use(self):
        for elf in self.each():
            imported = {name for name, _ in elf.symbols(11)}
            self.assertIn("__stack_chk_fail", imported)
            self.assertTrue([name for name in imported if name.endswith("_chk")])
            self.assertTrue([name for name in imported if "__glibcxx_assert_fail" in name])

    def test_functions_begin_with_a_landing_pad(self):
        for elf in self.each():
            if elf.machine != 62:
                self.skipTest("x86-64 only")
            main = [value for name, value in elf.symbols(2) if name == "main"]
            self.assertEqual(len(main), 1, "stripped: give the file of the build tree")
            self.assertEqual(elf.code_at(main[0], 4), b"\xf3\x0f\x1e\xfa")  # endbr64

    def test_every_file_is_compiled_so(self):
        commands = json.loads((BUILD / "compile_commands.json").read_text())
        checked = 0
        for entry in commands:
            if not entry["file"].endswith(".cc"):
                continue
            words = set(entry["command"].split())
            checked += 1
            self.assertFalse(FLAGS - words, entry["file"])
            self.assertFalse({"-fno-stack-protector", "-U_GLIBCXX_ASSERTIONS"} & words,
                             entry["file"])
        self.assertGreater(checked, 20)  # one compilation may be of several files


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
