"""A virtual machine that has what this computer may lack: a kernel with /dev/vhci.

QEMU starts a distribution's kernel on this computer's file system, read-only under a layer in memory: the guest has the
programs, the interpreter and the sources that are here. It plays `stage` and ends.
"""

from __future__ import annotations

import lzma
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

STAGE: Final = Path(__file__).resolve().with_name("stage.py")
PORT: Final = "hci"
"""What the guest calls the virtio port that leads to the controller."""
MODULES: Final = (
    "virtio_pci", "virtio_console", "virtio_rng", "9pnet_virtio", "9p", "overlay",
    "ctr", "hmac", "sha512_generic", "jitterentropy_rng", "drbg", "ecdh_generic", "cmac", "ecb", "ccm", "hci_vhci",
)  # fmt: skip
"""What the guest needs beyond its kernel; `bluetooth`, which `hci_vhci` brings, wants its ciphers loaded before it."""
FOLDERS: Final = ("bin", "dev", "layer", "lower", "modules", "proc", "root", "sys")
INIT: Final = """#!/bin/busybox sh
b=/bin/busybox
plan9=trans=virtio,version=9p2000.L,msize=512000
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b mount -t devtmpfs dev /dev
for module in /modules/*; do $b insmod $module || echo "not loaded: $module"; done
$b mount -t tmpfs layer /layer
$b mkdir /layer/upper /layer/work
$b mount -t 9p -o $plan9,ro,cache=loose root /lower &&
$b mount -t overlay -o lowerdir=/lower,upperdir=/layer/upper,workdir=/layer/work root /root && {
for each in proc sys dev; do $b mount --move /$each /root/$each; done
$b mount -t tmpfs run /root/run
$b mkdir /root/run/exchange
$b mount -t 9p -o $plan9 exchange /root/run/exchange
$b chroot /root @PYTHON@ @STAGE@ /run/exchange
}
$b sync
$b reboot -f
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """A kernel to start."""

    image: Path
    modules: Path
    """The folder with its modules, `lib/modules/VERSION`."""


def kernel_at(image: Path) -> Kernel | None:
    """Return the kernel `…/boot/vmlinuz-VERSION` if its modules are in `…/lib/modules/VERSION`, hci_vhci among them."""
    image = image.resolve()
    modules = image.parent.parent / "lib" / "modules" / image.name.partition("-")[2]
    return Kernel(image=image, modules=modules) if any(modules.rglob("hci_vhci.ko*")) else None


def command(kernel: Kernel, initrd: Path, folder: Path, hci_port: int, accelerator: str) -> list[str]:
    """Return what starts the guest, on one processor and after everything else here; its console is standard output.

    Args:
        kernel: what to start.
        initrd: where the `initial_files` are.
        folder: shared with the guest, which plays `plan.json` there.
        hci_port: where a controller is to be had on this computer.
        accelerator: `tcg` (emulation) or `kvm`.
    """
    return [
        "nice", "-n", "19", "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
        "-machine", "pc", "-accel", accelerator, "-cpu", "max", "-smp", "1", "-m", "1024", "-serial", "stdio",
        "-kernel", str(kernel.image), "-initrd", str(initrd),
        "-append", "console=ttyS0 panic=-1 oops=panic loglevel=5 mitigations=off",
        "-virtfs", "local,path=/,mount_tag=root,security_model=none,readonly=on,multidevs=remap",
        "-virtfs", f"local,path={folder},mount_tag=exchange,security_model=none,multidevs=remap",
        "-device", "virtio-rng-pci", "-device", "virtio-serial-pci",
        "-chardev", f"socket,id=hci,host=127.0.0.1,port={hci_port}",
        "-device", f"virtserialport,chardev=hci,name={PORT}",
    ]  # fmt: skip


def initial_files(kernel: Kernel, busybox: Path, python: str) -> bytes:
    """Return the first file system: a static busybox, the modules in the order of their needs, the first program."""
    init = INIT.replace("@PYTHON@", python).replace("@STAGE@", str(STAGE))
    entries: list[tuple[str, int, bytes]] = [(folder, 0o040755, b"") for folder in FOLDERS]
    entries += [("bin/busybox", 0o100755, busybox.read_bytes()), ("init", 0o100755, init.encode())]
    for number, (name, code) in enumerate(modules_in_order(kernel.modules, MODULES)):
        entries.append((f"modules/{number:02}-{name}.ko", 0o100644, code))
    return b"".join(_entry(*entry) for entry in [*entries, ("TRAILER!!!", 0, b"")])


def modules_in_order(folder: Path, wanted: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    """Yield name and code of the modules, each behind those that it depends on; what has no file is built in."""
    files = {_plain(file.name.partition(".")[0]): file for file in folder.rglob("*.ko*")}
    done: set[str] = set()

    def load(name: str) -> Iterator[tuple[str, bytes]]:
        if name in done or name not in files:
            return
        done.add(name)
        code = files[name].read_bytes()
        if files[name].suffix == ".xz":
            code = lzma.decompress(code)
        needs = re.search(rb"(?:^|\0)depends=([^\0]*)\0", code)
        for need in (needs[1].decode() if needs else "").split(","):
            yield from load(_plain(need))
        yield name, code

    for name in wanted:
        yield from load(_plain(name))


def _plain(name: str) -> str:
    return name.replace("-", "_")


def _entry(name: str, mode: int, data: bytes) -> bytes:
    """One file of a cpio archive (Linux, Documentation/driver-api/early-userspace/buffer-format.rst)."""
    fields = (0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)
