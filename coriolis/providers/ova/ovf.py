# SPDX-License-Identifier: Apache-2.0
"""Reads an OVF descriptor (DSP0243 1.x and 2.x) into records. What the hardware means is the matter of `hardware`.

Elements are matched by local name, because exporters disagree about prefixes and even about the slash at the end of
the namespace. Dialects known: VMware, VirtualBox, oVirt, QEMU-based tools.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree
from defusedxml.common import DefusedXmlException

from coriolis.providers.api import Invalid
from coriolis.providers.ova.allocation_units import unit_bytes

DESCRIPTOR_LIMIT = 8 << 20  # bytes; real ones have some 10 to 200 KiB
_ITEM_LIMIT = 4096
_SYSTEM_LIMIT = 1024
_LARGEST_DISK = 1 << 56

_VERSION = re.compile(r"http://schemas\.dmtf\.org/ovf/(?:envelope/([0-9]{1,3})|([0-9]{1,3})/envelope)/?")
_OLD = re.compile(r"http://www\.vmware\.com/(?:schema/ovf|specifications/ovf)/.*")
_PROPERTY = re.compile(r"\$\{([^}]{1,256})\}")
# oVirt writes a VMDK's URI for everything, and the truth in an attribute of its own.
_OVIRT_FORMATS = {"RAW": "raw", "COW": "qcow2"}
_ITEM_KINDS = frozenset({"Item", "StorageItem", "EthernetPortItem"})


@dataclass(frozen=True, kw_only=True)
class File:
    """A file of the package. ``size``: bytes in the package, as the descriptor says."""

    id: str
    href: str
    size: int | None = None
    compression: str = ""  # "" or gzip
    chunk_size: int | None = None


@dataclass(frozen=True, kw_only=True)
class VirtualDisk:
    """``capacity``: bytes; ``file_id`` None: an empty disk. ``interface``: oVirt's word for the bus."""

    id: str
    capacity: int
    file_id: str | None = None
    format: str = ""
    parent: str | None = None
    interface: str | None = None
    boot: bool = False


@dataclass(frozen=True, kw_only=True)
class Item:
    """A piece of hardware; ``fields`` has the texts of its children by local name, the first of each."""

    configurations: frozenset[str]
    fields: dict[str, str]

    def get(self, *names: str) -> str | None:
        """The first of the fields that is there and not empty."""
        return next((self.fields[name] for name in names if self.fields.get(name)), None)


@dataclass(frozen=True, kw_only=True)
class System:
    """A VirtualSystem. ``settings``: VMware's Config and ExtraConfig; ``macs``: of VirtualBox' enabled adapters."""

    id: str
    name: str
    os_id: int | None
    os_words: tuple[str, ...]
    items: tuple[Item, ...]
    settings: dict[str, str] = field(default_factory=dict)
    boot: tuple[tuple[str, str], ...] = ()  # (type, instance id)
    efi: bool = False
    secure_boot: bool = False
    macs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Envelope:
    version: int
    files: dict[str, File]
    disks: dict[str, VirtualDisk]
    networks: tuple[str, ...]
    configurations: tuple[str, ...]
    default_configuration: str | None
    systems: tuple[System, ...]


def parse(data: bytes) -> Envelope:
    """:raises Invalid: not XML, with entities or a DTD, too large, not an OVF 1.x or 2.x, or it contradicts itself"""
    root = _root(data)
    version = _version(root)
    systems = list(_systems(root))
    values = _properties([root, *systems])
    files = _unique("file", (_file(e) for e in _children(_section(root, "References"), "File")))
    disks = _unique("disk", (_disk(e, values) for e in _children(_section(root, "DiskSection"), "Disk")))
    options = list(_children(_section(root, "DeploymentOptionSection"), "Configuration"))
    ids = tuple(_attributes(option).get("id", "") for option in options)
    default = next((i for i, o in zip(ids, options, strict=True) if _true(_attributes(o).get("default"))), None)
    if not systems:
        raise Invalid("The OVF descriptor has no VirtualSystem: there is no machine in this package.")
    return Envelope(
        version=version,
        files=files,
        disks=disks,
        networks=tuple(_attributes(e).get("name", "") for e in _children(_section(root, "NetworkSection"), "Network")),
        configurations=ids,
        default_configuration=default or next(iter(ids), None),
        systems=tuple(_system(element) for element in systems),
    )


def _root(data: bytes) -> Element:
    if len(data) > DESCRIPTOR_LIMIT:
        raise Invalid(f"The OVF descriptor has {len(data)} bytes; more than {DESCRIPTOR_LIMIT} are not read.")
    try:
        root: Element = defusedxml.ElementTree.fromstring(data, forbid_dtd=True)
    except DefusedXmlException:
        raise Invalid("The OVF descriptor declares a DTD or entities, which OVF does not need: not read.") from None
    except (ParseError, LookupError, ValueError) as error:
        raise Invalid(f"The OVF descriptor is not well-formed XML ({error}). Export the machine again.") from None
    return root


def _version(root: Element) -> int:
    namespace = root.tag[1:].partition("}")[0] if root.tag.startswith("{") else ""
    match = _VERSION.fullmatch(namespace)
    if _local(root) != "Envelope":
        raise Invalid(f"The descriptor's root element is {_local(root)!r}, not an OVF Envelope.")
    if _OLD.fullmatch(namespace):
        raise Invalid("This is OVF 0.9, a draft of the standard. Export the machine again as OVF 1.0 or newer.")
    number = int(match[1] or match[2]) if match else 0
    if number not in (1, 2):
        raise Invalid(f"The OVF version of the namespace {namespace!r} is not known; 1.x and 2.x are.")
    return number


# Elements


def _local(element: Element) -> str:
    """The name without namespace; for the ``Section xsi:type="ovf:DiskSection_Type"`` form, the type's name."""
    name = element.tag.rpartition("}")[2]
    if name in ("Section", "Content"):
        kind = _attributes(element).get("type", "")
        return kind.rpartition(":")[2].removesuffix("_Type") or name
    return name


def _attributes(element: Element) -> dict[str, str]:
    return {name.rpartition("}")[2]: value for name, value in element.attrib.items()}


def _children(element: Element | None, *names: str) -> Iterator[Element]:
    if element is not None:
        for child in element:
            if isinstance(child.tag, str) and _local(child) in names:
                yield child


def _section(element: Element | None, name: str) -> Element | None:
    return next(_children(element, name), None)


def _text(element: Element | None) -> str:
    return (element.text or "").strip() if element is not None else ""


def _true(word: str | None) -> bool:
    return (word or "").strip().lower() in ("true", "1", "yes")


def _unique(what: str, things: Iterator[File] | Iterator[VirtualDisk]) -> dict:  # type: ignore[type-arg]
    found: dict[str, File | VirtualDisk] = {}
    for thing in things:
        if thing.id in found:
            raise Invalid(f"The OVF descriptor has two {what}s with the id {thing.id!r}.")
        found[thing.id] = thing
    return found


def small_number(words: str | None) -> int | None:
    """A decimal of at most 9 digits; None if it is anything else."""
    return int(words) if words is not None and re.fullmatch("[0-9]{1,9}", words) else None


def _number(words: str, what: str) -> int:
    if not re.fullmatch(r"[0-9]{1,24}", words.strip()):
        raise Invalid(f"The OVF descriptor says {words!r} for {what}; a whole number is needed.")
    return int(words)


# Parts


def _systems(root: Element) -> Iterator[Element]:
    """All VirtualSystems, in document order, however deep the collections."""
    stack, seen = [root], 0
    while stack:
        element = stack.pop()
        if _local(element) == "VirtualSystem":
            seen += 1
            if seen > _SYSTEM_LIMIT:
                raise Invalid(f"The OVF descriptor has more than {_SYSTEM_LIMIT} virtual systems.")
            yield element
        else:
            stack.extend(reversed(list(_children(element, "VirtualSystem", "VirtualSystemCollection"))))


def _properties(owners: list[Element]) -> dict[str, str]:
    """Default values of the product properties: a disk's capacity may be ``${one of them}``."""
    values: dict[str, str] = {}
    for owner in owners:
        for product in _children(owner, "ProductSection"):
            for each in _children(product, "Property"):
                attributes = _attributes(each)
                values.setdefault(attributes.get("key", ""), attributes.get("value", ""))
    return values


def _file(element: Element) -> File:
    given = _attributes(element)
    href = given.get("href", "")
    if not href:
        raise Invalid(f"The OVF descriptor's file {given.get('id', '')!r} has no href.")
    compression = given.get("compression", "").lower()
    if compression not in ("", "identity", "gzip"):
        raise Invalid(f"The file {href!r} is compressed with {compression!r}; OVF knows only gzip.")
    return File(
        id=given.get("id", href),
        href=href,
        size=_number(given["size"], f"the size of {href!r}") if given.get("size") else None,
        compression=compression.replace("identity", ""),
        chunk_size=_number(given["chunkSize"], f"the chunk size of {href!r}") if given.get("chunkSize") else None,
    )


def _disk(element: Element, values: dict[str, str]) -> VirtualDisk:
    given = _attributes(element)
    disk_id = given.get("diskId", "")
    capacity = _PROPERTY.sub(lambda match: values.get(match[1], ""), given.get("capacity", ""))
    what = f"the capacity of disk {disk_id!r}"
    size = _number(capacity, what) * unit_bytes(given.get("capacityAllocationUnits", ""))
    if not disk_id or not 0 < size <= _LARGEST_DISK:
        raise Invalid(f"The OVF descriptor says {size} bytes for {what}.")
    return VirtualDisk(
        id=disk_id,
        capacity=size,
        file_id=given.get("fileRef") or None,
        format=_OVIRT_FORMATS.get(given.get("volume-format", ""), given.get("format", "")),
        parent=given.get("parentRef") or None,
        interface=given.get("disk-interface"),
        boot=_true(given.get("boot")),
    )


def _system(element: Element) -> System:
    given = _attributes(element)
    hardware = _section(element, "VirtualHardwareSection")
    software = _section(element, "OperatingSystemSection")
    os_attributes = _attributes(software) if software is not None else {}
    words = (os_attributes.get("osType", ""), *(_text(e) for e in _children(software, "OSType", "Description")))
    settings = {
        _attributes(each).get("key", ""): _attributes(each).get("value", "")
        for each in _children(hardware, "Config", "ExtraConfig")
    }
    items = [_item(each) for each in _children(hardware, *_ITEM_KINDS)]
    if len(items) > _ITEM_LIMIT:
        raise Invalid(f"The OVF descriptor has more than {_ITEM_LIMIT} pieces of hardware.")
    box = _section(_section(element, "Machine"), "Hardware")
    firmware = _section(box, "Firmware")
    bios = _text(_section(element, "BiosType"))  # oVirt: 3 is q35 with OVMF, 4 the same with secure boot
    name = _text(_section(element, "Name")) or _identifier(hardware) or given.get("id", "")
    return System(
        id=given.get("id", ""),
        name=name,
        os_id=small_number(os_attributes.get("id")),
        os_words=tuple(word for word in words if word),
        items=tuple(items),
        settings=settings,
        boot=tuple(
            (_attributes(e).get("type", ""), _attributes(e).get("instanceId", ""))
            for e in _children(element, "BootOrderSection")
        ),
        efi=bios in ("3", "4") or (firmware is not None and _attributes(firmware).get("type", "").startswith("EFI")),
        secure_boot=bios == "4",
        macs=tuple(
            _attributes(adapter).get("MACAddress", "")
            for adapter in _children(_section(box, "Network"), "Adapter")
            if _true(_attributes(adapter).get("enabled"))
        ),
    )


def _identifier(hardware: Element | None) -> str:
    return _text(_section(_section(hardware, "System"), "VirtualSystemIdentifier"))


def _item(element: Element) -> Item:
    fields: dict[str, str] = {}
    for child in element:
        if isinstance(child.tag, str):
            fields.setdefault(child.tag.rpartition("}")[2], _text(child))
    return Item(configurations=frozenset(_attributes(element).get("configuration", "").split()), fields=fields)
