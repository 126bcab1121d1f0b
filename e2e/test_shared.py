"""Shared rings, and a guest that is reset, started anew, or loses yagura-guest while applications hold them.

Whoever maps guest RAM on the node is looked for in /proc: by what, and by which descriptors. When the guest's
pages get another owner, no application has them mapped any more, and nothing but the guest has written them: nearly
all free memory of the guest is filled with one byte, and the pages that were a ring's are looked at from outside.
"""
import contextlib
import os
import pathlib
import unittest

from e2e.lib import case, vsock, watched

NAME = "e2e-shared"
APPS = {"exec": "execsnoop", "open": "opensnoop"}
PAGE = 4096
BYTE = b"\xa5"

# Leaves 48 MiB of what is free; each page of the file is one of the guest's that somebody had before.
FILL = """
free=$(sed -n 's/^MemFree: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo)
mkdir -p /run/fill && mount -t tmpfs -o size=100% tmpfs /run/fill
tr '\\0' '\\245' </dev/zero | dd of=/run/fill/all bs=1M count=$((free / 1024 - 48)) iflag=fullblock 2>/dev/null
sha256sum </run/fill/all
"""
AGAIN = "sha256sum </run/fill/all; rm /run/fill/all; umount /run/fill"


class Ram:
    """The RAM file of a guest as it runs now: open here, so that it can be read when QEMU is gone."""

    def __init__(self, guest):
        pid = guest.qemu_pid()
        path = next(link for link in pathlib.Path(f"/proc/{pid}/fd").iterdir()
                    if "memory-backend-memfd" in os.readlink(link))
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        status = os.fstat(self._fd)
        self._key = (status.st_dev, status.st_ino)

    def close(self):
        os.close(self._fd)

    def page(self, offset):
        return os.pread(self._fd, PAGE, offset)

    def mappings(self, uids=None):
        """{pid: [(rights, offset, length)]} of the processes (with UIDS: whose user is in there) that map it."""
        found = {}
        for folder in pathlib.Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if uids is not None and folder.stat().st_uid not in uids:
                    continue
                for line in (folder / "maps").read_text().splitlines():
                    words = line.split()
                    if int(words[4]) == self._key[1] and "memory-backend-memfd" in line:
                        first, last = (int(word, 16) for word in words[0].split("-"))
                        found.setdefault(int(folder.name), []).append((words[1], int(words[2], 16), last - first))
        return found

    def descriptors(self, pid):
        """The open modes of PID's descriptors of it."""
        modes = []
        for link in pathlib.Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                status = link.stat()
                if (status.st_dev, status.st_ino) == self._key:
                    text = pathlib.Path(f"/proc/{pid}/fdinfo/{link.name}").read_text()
                    modes.append(int(text.split("flags:")[1].split()[0], 8) & os.O_ACCMODE)
        return modes


class Shared(watched.Watched):
    @classmethod
    def setUpClass(cls):
        cls.one, cls.apps = cls.shared_guest(NAME), APPS
        apps = {app: {"program": program, "delivery": "Shared"} for app, program in APPS.items()}
        cls.agent_ = cls.shared_agent(NAME, config={"allowShared": True},
                                      manifests={"m.yaml": case.monitor("base", apps)})

    def held(self):
        """(the guest's RAM, the pages in there that applications map), after looking at who may do what with it."""
        self.assert_watched(self.one)
        self.assertEqual({app["delivery"] for app in self.agent_.apps(NAME).values()}, {"Shared"})
        ram = Ram(self.one)
        self.addCleanup(ram.close)
        applications = ram.mappings(self.agent_.uids())
        self.assertEqual(len(applications), len(APPS))
        pages = set()
        for pid, mappings in applications.items():
            self.assertEqual(ram.descriptors(pid), [])
            self.assertEqual({rights for rights, _, _ in mappings}, {"r--s"})
            for _, offset, length in mappings:
                pages |= set(range(offset, offset + length, PAGE))
        for pid in self.sessions():
            self.assertEqual({rights for rights, _, _ in ram.mappings().get(pid, [])} - {"r--s"}, set())
            self.assertEqual(set(ram.descriptors(pid)) - {os.O_RDONLY}, set())
        self.assertGreater(len(pages), 16)
        return ram, pages

    def sessions(self):
        pid = self.agent_.process.pid
        return [int(child) for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def nobody_holds(self, ram):
        """No application and no session maps RAM any more, and the agent keeps no descriptor of it."""
        def gone():
            if ram.mappings(self.agent_.uids()):
                return False
            return not any(ram.mappings().get(pid) or ram.descriptors(pid) for pid in self.sessions())
        self.agent_.wait_for(gone, "the pages to be let go", 60.0)
        self.assertEqual(ram.descriptors(self.agent_.process.pid), [])

    def reused(self, ram, pages):
        """Fills the guest's memory: how many of PAGES got into the file. All of those are as the guest wrote them."""
        first = self.one.run(FILL, timeout=300, check=True).out.split()[0]
        found = 0
        for offset in pages:
            page = ram.page(offset)
            if page == BYTE * PAGE:
                found += 1
            # Whoever wrote a few bytes at an old position would leave a page that is the file's but for these.
            self.assertFalse(PAGE // 2 < page.count(BYTE) < PAGE, f"page at {offset:#x} is altered")
        again = self.one.run(AGAIN, timeout=300, check=True).out.split()[0]
        self.assertEqual(first, again)
        return found

    def test_guest_program_killed(self):
        """kill -9: the kernel of the guest takes the rings back at once."""
        ram, pages = self.held()
        self.one.run("touch /run/guest.stop; kill -9 $(pidof yagura-guest)", check=True)
        found = self.reused(ram, pages)
        self.nobody_holds(ram)
        found += self.reused(ram, pages)
        self.assertGreater(found, 0, "no page of a ring was given to anybody else, so nothing was tried")
        states = {app["state"] for app in self.agent_.apps(NAME).values()}
        self.assertNotIn("Running", states)
        self.one.run("rm /run/guest.stop", check=True)
        self.converged(NAME)
        self.assert_watched(self.one)

    def test_reset(self):
        """The same RAM, another kernel: its pages are nobody's rings any more."""
        ram, pages = self.held()
        before = ram.mappings(self.agent_.uids())
        self.one.reset()
        self.agent_.wait_for(lambda: not before.keys() & ram.mappings(self.agent_.uids()).keys(),
                             "the applications of the boot before to end", 60.0)
        if not vsock.KERNEL.exists():  # else new applications hold new rings by now
            self.nobody_holds(ram)
        self.assertGreater(self.reused(ram, pages), 0)
        if not vsock.KERNEL.exists():
            self.device_lost_by_reset()
        self.boot_id_in_status(self.one)
        self.converged(NAME)
        self.assert_watched(self.one)

    def test_destroyed_and_started_again(self):
        """The RAM ends with QEMU, and nobody keeps it."""
        ram, _ = self.held()
        self.one.destroy()
        self.nobody_holds(ram)
        self.agent_.wait_for(lambda: self.agent_.vm(NAME) is None, "the VM to be forgotten")
        self.one.start()
        self.boot_id_in_status(self.one)
        self.converged(NAME)
        self.assert_watched(self.one)


if __name__ == "__main__":
    unittest.main(verbosity=2)
