"""Policies in a guest's kernel: what is denied stays denied, whoever dies, and whatever way around is tried."""
import tempfile
import threading
import time

from e2e.lib import case, policy

ATTACK = policy.ATTACK
VAULT = "/run/vault"
SECRET = f"{VAULT}/secret"
EXEC_OP, OPEN_OP = 0, 1
AUDIT, DENY = 1, 3

BASE = f"""policy base {{
  guest {{
    rule secret: deny open of "{SECRET}" unless by exe "/usr/bin/busybox-keeper"
    rule look:   audit open of "/etc/hosts"
  }}
}}"""


class PolicyCase(case.Case):
    """One guest for the tests of a class, each with connections of its own that end with it."""
    guest_name, options = "e2e-policy", {}

    @classmethod
    def setUpClass(cls):
        image = policy.image(cls.guest_name, cls.options.get("owner"))
        cls.guest_ = cls.shared_guest(cls.guest_name, image=image, cpus=2, ram_mib=768,
                                      cmdline=cls.options.get("cmdline", policy.CMDLINE))
        cls.generations = 0

    def setUp(self):
        self.folder = self.enterContext(tempfile.TemporaryDirectory(prefix="yagura-policy."))
        self.guest_.run(f"mkdir -p {VAULT} /var/lib; echo s >{SECRET}; cp /bin/busybox /usr/bin/busybox-keeper")
        self.node = self.connect()
        self.addCleanup(self.remove)

    def connect(self, acks=True):
        connection = policy.Connection(self.guest_, self.folder, acks)
        self.addCleanup(connection.close)
        return connection

    def generation(self):
        type(self).generations += 1
        return self.generations

    def load(self, text, number=1, mode=""):
        status, document = self.node.load(text, number, self.generation(), mode)
        self.assertEqual((status, document["message"]), (0, ""))
        return document

    def remove(self):
        node = policy.Connection(self.guest_, self.folder)
        try:
            for entry in node.command("ask")[1]["policies"]:
                number = int(entry["uid"][-2:], 16)
                self.assertEqual(node.command(f"remove {number} {self.generation()}")[0], 0)
        finally:
            node.close()

    def attack(self, *words, timeout=120.0):
        """(0: it worked, 1: refused, 2: cannot be tried here; what it said)."""
        result = self.guest_.run(f"{ATTACK} {' '.join(words)}", timeout=timeout)
        return result.code, result.out.strip()

    def refused(self, *words):
        code, said = self.attack(*words)
        if code == 2:
            self.skipTest(f"{words[0]}: {said}")
        self.assertEqual(code, 1, f"{words}: {said}")
        return said

    def works(self, *words):
        code, said = self.attack(*words)
        self.assertEqual(code, 0, f"{words}: {said}")


class Enforcement(PolicyCase):
    def test_denied(self):
        """EPERM there, the rule's name here; the exception holds; audit lets it happen and says so."""
        document = self.load(BASE)
        self.assertTrue(document["enforceable"])
        self.assertEqual([entry["unenforced"] for entry in document["policies"]], [[]])
        self.assertIn("Operation not permitted", self.refused("open", SECRET))
        seen = self.node.wait_for(lambda v: v["ruleName"] == "secret")
        self.assertEqual((seen["action"], seen["answer"], seen["operation"]), (DENY, -1, OPEN_OP))
        self.assertEqual((seen["file"], seen["exe"], seen["lost"]), ("secret", "attack", 0))
        self.assertEqual(self.guest_.run(f"busybox-keeper cat {SECRET}").out, "s\n")
        self.guest_.run("cat /etc/hosts", check=True)
        seen = self.node.wait_for(lambda v: v["ruleName"] == "look")
        self.assertEqual((seen["action"], seen["answer"]), (AUDIT, 0))
        self.assertEqual(self.node.command(f"remove 1 {self.generation()}")[0], 0)
        self.works("open", SECRET)

    def test_outlives_the_program(self):
        """kill -9 of yagura-guest: not one open in between; the next one takes up what is there."""
        self.load(BASE)
        self.guest_.run(f"{ATTACK} many {SECRET} 100000000 >/run/many 2>&1 & echo $! >/run/many.pid")
        loaded = self.guest_.run("ls -i /sys/fs/bpf/yagura/*/ | sort").out
        for _ in range(3):
            self.guest_.restart_guest_program()
            self.refused("open", SECRET)
            node = self.connect()
            status, document = node.command("ask")
            self.assertEqual((status, [entry["enforced"] for entry in document["policies"]]), (0, [True]))
        self.assertEqual(self.guest_.run("ls -i /sys/fs/bpf/yagura/*/ | sort").out, loaded)
        self.guest_.run("kill $(cat /run/many.pid)")
        self.refused("many", SECRET, "1000")
        self.node = self.connect()

    def test_outlives_the_channel(self):
        """What happens while nobody listens is told later, once, and again until it is acknowledged."""
        self.load(BASE)
        self.node.cut()
        for _ in range(5):
            self.refused("open", SECRET)
        node = self.connect(acks=False)
        first = node.wait_for(lambda v: v["ruleName"] == "secret")
        while len([v for v in node.violations if v["ruleName"] == "secret"]) < 5:
            time.sleep(0.1)
        positions = [v["position"] for v in node.violations]
        self.assertEqual(positions, sorted(set(positions)))
        node.cut()
        node = self.connect(acks=False)
        self.assertEqual(node.wait_for(lambda v: v["ruleName"] == "secret"), first)
        while len(node.violations) < len(positions):
            time.sleep(0.1)
        node.ack(positions[-1])
        node.command("ask")
        node.cut()
        node = self.connect(acks=False)
        node.command("ask")
        self.assertEqual([v for v in node.violations if v["position"] <= positions[-1]], [])

    def test_losses_are_counted(self):
        """A full buffer stops nothing, and what had no room is counted."""
        self.load(BASE)
        self.node.cut()
        self.refused("many", SECRET, "5000")
        node = self.connect()
        self.assertGreater(node.command("ask")[1]["lost"], 1000)
        self.refused("open", SECRET)

    def test_refused_bundles(self):
        """Not signed, another root's, another VM's, expired, older: refused with a reason, and nothing changes."""
        self.load(BASE)
        harmless = "policy base { guest { rule nothing: audit open of \"/nothing\" } }"
        for mode, code in (("unsigned", -129), ("foreign", -129), ("other-vm", -13), ("expired", -127)):
            with self.subTest(mode):
                status, document = self.node.load(harmless, 1, self.generation(), mode)
                self.assertEqual(status, code, document)
                self.assertNotEqual(document["message"], "")
        with self.subTest("older"):
            status, document = self.node.load(harmless, 1, 1)
            self.assertEqual(status, -116, document)
        self.refused("open", SECRET)
        with self.subTest("replay after removal"):
            generation = self.generation()
            self.assertEqual(self.node.command(f"remove 1 {generation}")[0], 0)
            self.assertEqual(self.node.load(BASE, 1, generation)[0], -116)

    def test_several(self):
        """Deny wins over what another policy allows or audits; each verdict is told; a removal leaves the others."""
        self.load(BASE)
        self.load(f"""policy other {{ guest {{
            rule note:  audit open of "{SECRET}"
            rule inner: deny open of under "{VAULT}/inner"
        }} }}""", number=2)
        self.load(f"policy third {{ guest {{ rule all: deny open of under \"{VAULT}\" for write }} }}", number=3)
        self.guest_.run(f"mkdir -p {VAULT}/inner; echo x >{VAULT}/free")
        self.refused("open", SECRET)
        self.node.wait_for(lambda v: v["policy"] == 1 and v["ruleName"] == "secret")
        self.node.wait_for(lambda v: v["policy"] == 2 and v["ruleName"] == "note")
        self.assertNotEqual(self.guest_.run(f": >{VAULT}/inner/x").code, 0)
        self.refused("many", f"{VAULT}/inner/../free", "1")  # read and write: the third
        self.works("open", f"{VAULT}/free")
        self.assertEqual(self.node.command(f"remove 1 {self.generation()}")[0], 0)
        self.works("open", SECRET)
        self.refused("many", SECRET, "1")

    def test_modes(self):
        """Audit per policy and per rule, and back, at run time; an audited rule weakens no other."""
        two = f"""policy two {{ guest {{
            rule first:  deny open of "{SECRET}"
            rule second: deny with EACCES open of under "{VAULT}"
        }} }}"""
        self.load(two)
        self.assertIn("not permitted", self.refused("open", SECRET))
        self.load(two, mode="audit:first")
        self.assertIn("Permission denied", self.refused("open", SECRET))
        self.load(two, mode="audit")
        self.works("open", SECRET)
        seen = self.node.wait_for(lambda v: v["ruleName"] == "first" and v["action"] == AUDIT)
        self.assertEqual(seen["answer"], 0)
        self.load(two)
        self.refused("open", SECRET)

    def test_swap(self):
        """10,000 tries during 100 changes of policy: none slips through."""
        others = [f"policy base {{ guest {{ rule secret: deny open of \"{SECRET}\"\n rule o: audit exec of \"/{i}\" }} }}"
                  for i in range(2)]
        self.load(others[0])
        said, stop = [], threading.Event()

        def tries():
            while not stop.is_set():
                said.append(self.attack("many", SECRET, "2000", timeout=300.0))
        thread = threading.Thread(target=tries)
        thread.start()
        try:
            begun = time.monotonic()
            for i in range(100):
                self.load(others[i % 2])
            swap_ms = (time.monotonic() - begun) * 10
        finally:
            stop.set()
            thread.join()
        print(f"      {len(said) * 2000} tries during 100 changes of {swap_ms:.0f} ms each")
        self.assertGreaterEqual(len(said) * 2000, 10000)
        self.assertEqual({text for _, text in said}, {"0 of 2000 opened"})

    def test_operations(self):
        """One rule for each operation that can be tried from a shell."""
        self.guest_.run(f"mkdir -p {VAULT}/d; touch {VAULT}/d/a {VAULT}/d/b", check=True)
        self.guest_.run("ip link add dummy9 type dummy; sleep 1000 & echo $! >/run/victim.pid; cp /bin/busybox "
                        "/usr/bin/busybox-victim; busybox-victim sleep 1000 & echo $! >/run/victim.pid")
        commands = {
            "create": f"touch {VAULT}/d/new", "create-dir": f"mkdir {VAULT}/d/new",
            "create-link": f"ln {VAULT}/free2 {VAULT}/d/new", "create-rename": f"mv {VAULT}/free2 {VAULT}/d/new",
            "unlink": f"rm {VAULT}/d/a", "replace": f"mv {VAULT}/free2 {VAULT}/d/a", "rename": f"mv {VAULT}/d/a {VAULT}/x",
            "link": f"ln {VAULT}/d/a {VAULT}/x", "chmod": f"chmod 777 {VAULT}/d/a", "chown": f"chown 5 {VAULT}/d/a",
            "truncate": f"truncate -s 5 {VAULT}/d/a", "mount": f"mount -t tmpfs x {VAULT}/d/m",
            "signal": "kill $(cat /run/victim.pid)", "userns": "unshare -U true",
            "module": "insmod $(grep dummy /etc/modules.order)"}
        self.guest_.run(f"touch {VAULT}/free2; mkdir {VAULT}/d/m; rmmod dummy")
        files = f"under \"{VAULT}/d\""
        self.load(f"""policy all {{ guest {{
            rule create: deny create of {files}   rule unlink: deny unlink of {files}
            rule rename: deny rename of {files}   rule link: deny link of {files}
            rule chmod: deny chmod of {files}     rule chown: deny chown of {files}
            rule truncate: deny truncate of {files}  rule mount: deny mount of {files}
            rule signal: deny signal of exe "/usr/bin/busybox-victim"
            rule module: deny load-module  rule userns: deny create-userns
        }} }}""")
        for name, command in commands.items():
            with self.subTest(name):
                result = self.guest_.run(command)
                self.assertNotEqual(result.code, 0)
                self.assertRegex(result.err, "permitted|permission denied|Permission denied")
        self.works("open", f"{VAULT}/d/a")

    def test_network(self):
        """connect by address and port, under whatever name the address goes."""
        self.guest_.run("mkdir -p /run/w; httpd -p 127.0.0.1:8081 -h /run/w; httpd -p 127.0.0.1:8082 -h /run/w")
        self.works("connect", "127.0.0.1", "8081")
        self.load("policy net { guest { rule out: deny connect to 127.0.0.0/8 port 8081 } }")
        self.works("connect", "127.0.0.1", "8082")
        for attack, address in (("connect", "127.0.0.1"), ("connect", "127.9.9.9"), ("connect", "0.0.0.0"),
                                ("connect-mapped", "127.0.0.1"), ("connect-fast", "127.0.0.1")):
            with self.subTest(attack, address=address):
                self.refused(attack, address, "8081")
        self.node.wait_for(lambda v: v["ruleName"] == "out")


class Evasion(PolicyCase):
    """As an attacker in the guest would, who is root there."""
    guest_name = "e2e-evasion"

    def test_ways_to_a_file(self):
        """Every other way to a file that may not be opened."""
        self.guest_.run(f"mkdir -p {VAULT}/deep; cp {SECRET} {VAULT}/deep/inside", check=True)
        for number, way in ((1, "held"), (2, "held-map")):
            self.guest_.run(f"({ATTACK} {way} {SECRET} /run/go /run/ready.{number}; echo code $?) "
                            f">/run/held.{number} 2>&1 & until test -e /run/ready.{number}; do sleep 0.1; done",
                            check=True)
        self.load(f"""policy ways {{ guest {{
            rule secret: deny open of "{SECRET}"
            rule below:  deny open of under "{VAULT}/deep"
        }} }}""")
        self.guest_.run("touch /run/go; sleep 1")
        for number in (1, 2):
            with self.subTest("held", number=number):
                self.assertIn("code 1", self.guest_.run(f"cat /run/held.{number}").out)
        for words in (("open", SECRET), ("symlink", SECRET), ("hard-link", SECRET, "/run/other-name"),
                      ("bind-mount", SECRET), ("chroot", VAULT, "/secret"),
                      ("rename-parent", VAULT, "/run/elsewhere", "/run/elsewhere/secret"), ("reopen", SECRET),
                      ("handle", SECRET, "/run"), ("io-uring", SECRET), ("comm", "busybox-keeper", SECRET),
                      ("namespaces", SECRET), ("hard-link", f"{VAULT}/deep/inside", f"{VAULT}/deep/two"),
                      ("chroot", f"{VAULT}/deep", "/inside"), ("bind-mount", f"{VAULT}/deep/inside"),
                      ("rename-parent", VAULT, "/run/elsewhere", "/run/elsewhere/deep/inside"),
                      ("reopen", f"{VAULT}/deep/inside"), ("deep", f"{VAULT}/deep", "60")):
            with self.subTest(words[0], file=words[1]):
                self.refused(*words)

    def test_new_inodes(self):
        """What comes to a watched name later is watched too, by whatever name it had before or gets."""
        self.load(f"""policy names {{ guest {{
            rule secret: deny open of "{SECRET}" for read
            rule absent: deny open of "{VAULT}/absent" for read
        }} }}""")
        self.guest_.run(f"echo new >{VAULT}/s2; ln {VAULT}/s2 {VAULT}/s3; mv {VAULT}/s2 {SECRET}", check=True)
        self.refused("open", SECRET)
        self.refused("open", f"{VAULT}/s3")
        self.guest_.run(f"echo x >{VAULT}/absent; mv {VAULT}/absent {VAULT}/moved", check=True)
        self.refused("open", f"{VAULT}/moved")
        self.guest_.run(f"echo y >{VAULT}/z; ln {VAULT}/z {VAULT}/absent", check=True)
        self.refused("open", f"{VAULT}/z")

    def test_replaced_program(self):
        """A program that is upgraded is still that program."""
        self.guest_.run("cp /bin/busybox /usr/bin/busybox-server; ", check=True)
        self.load(f"policy up {{ guest {{ rule s: deny open of \"{SECRET}\" by exe \"/usr/bin/busybox-server\" }} }}")
        self.assertNotEqual(self.guest_.run(f"busybox-server cat {SECRET}").code, 0)
        self.guest_.run("cp /bin/busybox /usr/bin/busybox-server.new; mv /usr/bin/busybox-server.new /usr/bin/busybox-server", check=True)
        self.assertNotEqual(self.guest_.run(f"busybox-server cat {SECRET}").code, 0)
        self.assertEqual(self.guest_.run(f"cat {SECRET}").code, 0)

    def test_ways_to_run(self):
        """Scripts, loaders, descendants that hide."""
        self.guest_.run("cp /bin/busybox /usr/bin/busybox-tool; cp /bin/busybox /usr/bin/busybox-server; "
                        "printf '#!/usr/bin/busybox-tool sh\\necho ran\\n' >/run/script; chmod +x /run/script", check=True)
        self.guest_.run("busybox-server sh -c 'until test -e /run/begin; do sleep 0.1; done; busybox-tool true; echo code $? "
                        ">/run/late' >/dev/null 2>&1 &")
        self.load("""policy run { guest {
            rule tool: deny exec of "/usr/bin/busybox-tool" by descendants of exe "/usr/bin/busybox-server"
        } }""")
        self.assertEqual(self.guest_.run("busybox-tool true").code, 0)
        for command in ("busybox-server sh -c 'busybox-tool true'", "busybox-server sh -c /run/script",
                        f"busybox-server sh -c '{ATTACK} exec /usr/bin/busybox-tool true'",
                        f"busybox-server sh -c '{ATTACK} double-fork /usr/bin/busybox-tool true'",
                        "busybox-server sh -c 'sh -c \"sh -c /run/script\"'"):
            with self.subTest(command):
                result = self.guest_.run(command)
                self.assertNotEqual(result.code, 0, result)
                self.assertNotIn("ran", result.out)
        self.guest_.run("touch /run/begin; until test -e /run/late; do sleep 0.1; done", check=True)
        self.assertNotIn("code 0", self.guest_.run("cat /run/late").out)

    def test_copies(self):
        """The form that lists what may run stops copies of bytes, with and without a name."""
        self.load("policy allow { guest { rule only: deny exec of not file { under \"/usr\", under \"/run/shell\" } } }")
        self.assertEqual(self.guest_.run("/bin/true").code, 0)
        self.refused("memfd", "/bin/busybox", "true")
        self.assertNotEqual(self.guest_.run("cp /bin/busybox /tmp/true; /tmp/true").code, 0)

    def test_shield(self):
        """Root of the guest neither opens the maps nor takes away the pins."""
        self.load(BASE)
        self.refused("maps")
        for command in ("rm -rf /sys/fs/bpf/yagura", "rm -f /sys/fs/bpf/yagura/*/l_f_open",
                        "mv /sys/fs/bpf/yagura /sys/fs/bpf/other", "umount /sys/fs/bpf", "umount -l /sys/fs/bpf",
                        "umount -l /sys"):
            with self.subTest(command):
                self.assertNotEqual(self.guest_.run(command).code, 0)
                self.refused("open", SECRET)


class NotHere(case.Case):
    """Where policies cannot or may not be enforced, the status says why and what to do."""

    def status(self, name, cmdline, owner=None):
        guest = self.guest(name, image=policy.image(name, owner), ram_mib=512, cmdline=cmdline)
        with tempfile.TemporaryDirectory(prefix="yagura-policy.") as folder:
            node = policy.Connection(guest, folder)
            self.addCleanup(node.close)
            code, document = node.load(BASE)
            self.assertEqual((code, document["enforceable"]), (-95, False))
            self.assertIn(document["remedy"], document["message"])
            guest.run(f"mkdir -p {VAULT}; echo s >{SECRET}; cat {SECRET}", check=True)
            return document

    def test_without_lsm(self):
        document = self.status("e2e-no-lsm", "lsm=lockdown,capability")
        self.assertEqual(document["reason"], "LSMWithoutBPF")
        self.assertIn("lsm=lockdown,capability,bpf", document["remedy"])

    def test_owner_forbids(self):
        document = self.status("e2e-no-owner", policy.CMDLINE, "policies: {enforce: false}\n")
        self.assertEqual(document["reason"], "ForbiddenByOwner")


class Boot(PolicyCase):
    guest_name = "e2e-boot-policy"

    def test_boot(self):
        """What is stored is enforced by the next boot, before anybody connects."""
        self.load(BASE.replace(SECRET, "/etc/passwd"))
        names = self.guest_.run("ls /var/lib/yagura-guest").out.split()
        stored = [name for name in names if name.endswith(".bundle")]
        self.assertEqual(len(stored), 1)
        file = f"{self.folder}/bundle"
        with open(file, "wb") as stream:
            stream.write(self.guest_.run(f"cat /var/lib/yagura-guest/{stored[0]}").out_bytes)
        image = policy.image("e2e-again", files=[(file, f"/var/lib/yagura-guest/{stored[0]}")])
        guest = self.guest("e2e-again", image=image, ram_mib=768, cmdline=policy.CMDLINE)
        guest.run("until test -e /sys/fs/bpf/yagura/*/l_f_open; do sleep 0.2; done", check=True)
        for _ in range(100):
            if guest.run(f"{ATTACK} open /etc/passwd").code == 1:
                break
            time.sleep(0.2)
        self.assertEqual(guest.run(f"{ATTACK} open /etc/passwd").code, 1)

    def test_names_that_come_later(self):
        """A name whose directory was not there is told, and watched soon after it is."""
        document = self.load(BASE.replace(VAULT, "/run/later"))
        self.assertIn("/run/later/secret", document["policies"][0]["missing"])
        self.guest_.run("mkdir /run/later; echo s >/run/later/secret", check=True)
        for _ in range(300):
            if self.attack("open", "/run/later/secret")[0] == 1:
                break
            time.sleep(0.2)
        self.refused("open", "/run/later/secret")
