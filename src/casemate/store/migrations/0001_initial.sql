-- Images: a row for each manifest that is known by a name or used by a container.
CREATE TABLE manifests (
    digest        TEXT PRIMARY KEY,
    config_digest TEXT NOT NULL,
    platform      TEXT NOT NULL,
    created_ns    INTEGER NOT NULL,
    size_bytes    INTEGER NOT NULL,
    chain_ids     TEXT NOT NULL          -- separated by spaces, bottom layer first
) STRICT, WITHOUT ROWID;

-- What a manifest keeps alive besides itself: kind 'blob' (a digest) or 'layer' (a chain id).
CREATE TABLE manifest_refs (
    manifest TEXT NOT NULL REFERENCES manifests (digest) ON DELETE CASCADE,
    kind     TEXT NOT NULL,
    key      TEXT NOT NULL,
    PRIMARY KEY (manifest, kind, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE names (
    name       TEXT PRIMARY KEY,         -- canonical reference
    manifest   TEXT NOT NULL REFERENCES manifests (digest),
    updated_ns INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX names_manifest ON names (manifest);

CREATE TABLE containers (
    id           TEXT PRIMARY KEY,
    name         TEXT NOT NULL UNIQUE,
    image_name   TEXT NOT NULL,
    image_digest TEXT NOT NULL,
    config       TEXT NOT NULL,          -- the engine's own JSON
    state        TEXT NOT NULL,
    pid          INTEGER NOT NULL,
    start_time   INTEGER NOT NULL,       -- field 22 of /proc/PID/stat: names the process together with boot_id
    boot_id      TEXT NOT NULL,
    created_ns   INTEGER NOT NULL,
    started_ns   INTEGER NOT NULL,
    finished_ns  INTEGER NOT NULL,
    exit_code    INTEGER NOT NULL,
    auto_remove  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX containers_state ON containers (state);

-- Slots of the uid pool. Slot 0 is the store's own and has no row.
CREATE TABLE ranges (
    slot      INTEGER PRIMARY KEY,
    container TEXT NOT NULL UNIQUE
) STRICT;
CREATE TABLE range_cursor (
    only      INTEGER PRIMARY KEY CHECK (only = 0),
    last_slot INTEGER NOT NULL
) STRICT;
INSERT INTO range_cursor VALUES (0, 0);

-- Leases keep what is not yet, or no longer, reachable from an image or a container.
CREATE TABLE leases (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    name       TEXT NOT NULL,
    pid        INTEGER NOT NULL,
    start_time INTEGER NOT NULL,
    pid_ns     INTEGER NOT NULL,         -- inode of the pid namespace in which pid has a meaning
    boot_id    TEXT NOT NULL,
    expires_ns INTEGER NOT NULL
) STRICT;
CREATE TABLE lease_refs (
    lease INTEGER NOT NULL REFERENCES leases (id) ON DELETE CASCADE,
    kind  TEXT NOT NULL,                 -- blob, layer, root or manifest
    key   TEXT NOT NULL,
    PRIMARY KEY (lease, kind, key)
) STRICT, WITHOUT ROWID;
