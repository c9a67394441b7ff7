"""SPDX 2.3 in JSON: what the image is made of. The same input gives the same bytes."""

import datetime
import hashlib
import json
import re

# Short names in Debian's copyright files, where they differ from SPDX's.
SPDX = {
    "expat": "MIT", "mit": "MIT", "apache-2.0": "Apache-2.0", "apache-2": "Apache-2.0",
    "bsd-2-clause": "BSD-2-Clause", "bsd-3-clause": "BSD-3-Clause", "bsl-1.0": "BSL-1.0",
    "boost-1.0": "BSL-1.0", "isc": "ISC", "zlib": "Zlib", "cc0-1.0": "CC0-1.0",
    "gpl-2": "GPL-2.0-only", "gpl-2+": "GPL-2.0-or-later", "gpl-3": "GPL-3.0-only",
    "gpl-3+": "GPL-3.0-or-later", "lgpl-2.1": "LGPL-2.1-only", "lgpl-2.1+": "LGPL-2.1-or-later",
    "lgpl-3": "LGPL-3.0-only", "lgpl-3+": "LGPL-3.0-or-later", "mpl-2.0": "MPL-2.0",
}


def identifier(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]", "-", text)


def debian_licences(text: str) -> list[str]:
    """Short names in a machine-readable copyright file, in order; none in an older one."""
    if not text.startswith("Format:"):
        return []
    names = re.findall(r"^License:[ \t]*(\S[^\n]*)$", text, re.MULTILINE)
    parts = [part for name in names for part in re.split(r",?\s+(?:and|or)\s+|,\s*", name)]
    return list(dict.fromkeys(part.strip() for part in parts if part.strip()))


def licence_comment(package) -> str:
    names = [name for file in package.licence_files
             for name in debian_licences(file.read_text(errors="replace"))]
    where = f"/usr/share/doc/{package.name}/" if package.licence_files else "no text shipped"
    known = ", ".join(SPDX.get(name.lower(), name) for name in names)
    return f"Texts: {where}." + (f" Names in them: {known}." if known else "")


def declared(package) -> str:
    """An SPDX expression where one is certain: a single known licence."""
    names = {name for file in package.licence_files
             for name in debian_licences(file.read_text(errors="replace"))}
    names = {SPDX.get(name.lower()) for name in names}
    return names.pop() if len(names) == 1 and None not in names else "NOASSERTION"


def entry(package) -> dict:
    out = {
        "SPDXID": f"SPDXRef-Package-{identifier(package.name)}",
        "name": package.name,
        "versionInfo": package.version,
        "supplier": package.supplier,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": declared(package),
        "licenseComments": licence_comment(package),
        "copyrightText": "NOASSERTION",
    }
    if package.homepage:
        out["homepage"] = package.homepage
    if package.status:  # a Debian package
        out["externalRefs"] = [{
            "referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl",
            "referenceLocator": f"pkg:deb/debian/{package.name}@"
                                f"{package.version.replace(':', '%3A').replace('+', '%2B')}"
                                f"?arch={package.architecture}&distro=debian-12"}]
    return out


def file_entry(root, path) -> dict:
    data = path.read_bytes()
    return {
        "SPDXID": f"SPDXRef-File-{identifier(path.name)}",
        "fileName": "./" + str(path.relative_to(root)),
        "fileTypes": ["BINARY"],
        "checksums": [{"algorithm": name, "checksumValue": hashlib.new(name, data).hexdigest()}
                      for name in ("SHA1", "SHA256")],
        "licenseConcluded": "MIT",
        "copyrightText": "Copyright (c) 2026 The alcca-server authors",
    }


def document(version: str, epoch: int, root, programs, dynamic, static, compiled) -> str:
    """Packages: `dynamic` are loaded at run time, `static` linked in, `compiled` give headers."""
    ours = "SPDXRef-Package-alcca-server"
    packages = sorted({*dynamic, *static, *compiled})
    files = [file_entry(root, path) for path in programs]
    model = "SPDXRef-Package-afia-5m"
    relations = [("SPDXRef-DOCUMENT", "DESCRIBES", ours), (ours, "CONTAINS", model)]
    relations += [(ours, "CONTAINS", file["SPDXID"]) for file in files]
    for group, relation in ((dynamic, "DYNAMIC_LINK"), (static, "STATIC_LINK")):
        relations += [(ours, relation, entry(package)["SPDXID"]) for package in group]
    # Header-only libraries enter the programs this way.
    relations += [(entry(p)["SPDXID"], "BUILD_DEPENDENCY_OF", ours) for p in compiled]
    seed = json.dumps([version, [f["checksums"] for f in files], [p.version for p in packages]])
    created = datetime.datetime.fromtimestamp(epoch, datetime.timezone.utc)
    return json.dumps({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": f"alcca-server-{version}",
        "documentNamespace": "urn:alcca-server:sbom:" + hashlib.sha256(seed.encode()).hexdigest(),
        "creationInfo": {"created": created.strftime("%Y-%m-%dT%H:%M:%SZ"),
                         "creators": ["Tool: alcca-server-assemble_root"]},
        "packages": [
            {"SPDXID": ours, "name": "alcca-server", "versionInfo": version,
             "downloadLocation": "NOASSERTION", "filesAnalyzed": False, "licenseConcluded": "MIT",
             "licenseDeclared": "MIT", "primaryPackagePurpose": "APPLICATION",
             "copyrightText": "Copyright (c) 2026 The alcca-server authors"},
            {"SPDXID": model, "name": "afia-5m", "versionInfo": version,
             "downloadLocation": "NOASSERTION", "filesAnalyzed": False, "licenseConcluded": "MIT",
             "licenseDeclared": "MIT", "copyrightText": "NOASSERTION",
             "comment": "The embedded model. Its training texts and their licences: "
                        "/usr/share/alcca/models/afia-5m/ATTRIBUTION.md."},
            *[entry(package) for package in packages]],
        "files": files,
        "relationships": [{"spdxElementId": a, "relationshipType": kind, "relatedSpdxElement": b}
                          for a, kind, b in relations],
    }, indent=1) + "\n"
