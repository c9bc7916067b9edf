"""What DuckDB and SQLite need for what the log does.

    sql.py append DIR            durable rows a second of SQLite: WAL, synchronous=FULL, indexes on client, key and time
    sql.py lookup PARQUET ASKED  the questions of benches/large.rs, to DuckDB on the same files and to SQLite on some of the same rows

SQLite is the one that is built into Python: `executemany`, one transaction a batch. Python's own share is the binding of values
(printed), which a C program would have too.
"""

import json
import os
import sqlite3
import sys
import tempfile
import time

TABLE = """
PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
CREATE TABLE decisions (at INTEGER, client TEXT, key TEXT, decision TEXT, code TEXT, anchor TEXT, owner TEXT, ip TEXT, request BLOB, digest BLOB);
CREATE INDEX by_client ON decisions (client, at); CREATE INDEX by_key ON decisions (key, at); CREATE INDEX by_at ON decisions (at);
"""
INSERT = "INSERT INTO decisions VALUES (?,?,?,?,?,?,?,?,?,?)"
# A database of a hundred million rows has some forty gigabytes.
SQLITE_ROWS = int(os.environ.get("BENCH_SQLITE_ROWS", "2000000"))


def timed(what, work, times=5):
    took = []
    for _ in range(times):
        began = time.perf_counter()
        rows = work()
        took.append((time.perf_counter() - began) * 1000)
    took.sort()
    print(f"{what:<58} best {took[0]:>9.1f} ms   median {took[len(took) // 2]:>9.1f} ms   {rows} rows", flush=True)


def synthetic(count, first):
    """Rows with the sizes of the log's uses."""
    rows = []
    for n in range(first, first + count):
        client = (n * 2654435761) % 100_000
        rows.append((
            1_795_305_600_000 + n // 50, f"https://client-{client}.example/oauth/metadata.json", f"{client % 2000:043d}",
            "allow", "ok", f"anchor-{client % 8}", f"team-{client % 300}@example.com", f"10.{n % 4}.{n % 128}.{n % 127}",
            n.to_bytes(32, "big"), (n * 7).to_bytes(32, "big"),
        ))
    return rows


def append(directory):
    for batch in (256, 1024, 4096):
        with tempfile.TemporaryDirectory(dir=directory) as place:
            db = sqlite3.connect(os.path.join(place, "log.sqlite"), isolation_level=None)
            db.executescript(TABLE)
            n, spent, waits = 0, 0.0, []
            while spent < 5:
                rows = synthetic(batch, n)
                began = time.perf_counter()
                db.execute("BEGIN")
                db.executemany(INSERT, rows)
                db.execute("COMMIT")
                took = time.perf_counter() - began
                waits.append(took * 1000)
                spent += took
                n += batch
            waits.sort()
            p50, p99 = waits[len(waits) // 2], waits[len(waits) * 99 // 100]
            db.close()
        memory = sqlite3.connect(":memory:", isolation_level=None)
        memory.execute("CREATE TABLE t (a,b,c,d,e,f,g,h,i,j)")
        rows = synthetic(20_000, 0)
        began = time.perf_counter()
        memory.executemany("INSERT INTO t VALUES (?,?,?,?,?,?,?,?,?,?)", rows)
        python = (time.perf_counter() - began) / 20_000 * 1e6
        print(f"SQLite, batches of {batch:>5}: {n / spent:>9.0f} rows/s   commit p50 {p50:>7.3f} ms   p99 {p99:>7.3f} ms"
              f"   ({n} rows; {python:.1f} us a row without disk and indexes)", flush=True)


def lookup(parquet, asked):
    import duckdb

    manifest = json.load(open(os.path.join(parquet, "manifest.json")))
    files = [os.path.join(parquet, file["path"]) for file in manifest["files"]]
    duck = duckdb.connect()
    duck.execute("SET threads = 1; SET TimeZone = 'UTC'; SET enable_object_cache = true")
    duck.execute(f"CREATE VIEW decisions AS SELECT * FROM read_parquet({files!r}) WHERE kind IN ('evaluation', 'use')")
    row = 'index, "at", decision, code, client, anchor, class, owner, statement, key, ip'
    newest = "ORDER BY index DESC LIMIT 1000"
    hashed = lambda client: f"client_hash = {hash_of(client)} AND client = '{client}'"
    within = lambda until: f"\"at\" >= '{asked['since']}' AND \"at\" < '{asked[until]}'"
    print(f"DuckDB {duckdb.__version__} on the same files, one thread")
    questions = [
        ("a rare client", f"SELECT {row} FROM decisions WHERE {hashed(asked['rare'])} {newest}"),
        ("a rare client, without its hash", f"SELECT {row} FROM decisions WHERE client = '{asked['rare']}' {newest}"),
        ("a busy client", f"SELECT {row} FROM decisions WHERE {hashed(asked['busy'])} {newest}"),
        ("a busy client, one hour", f"SELECT {row} FROM decisions WHERE {hashed(asked['busy'])} AND {within('hour')} {newest}"),
        ("a key, 24 hours", f"SELECT {row} FROM decisions WHERE key = '{asked['key']}' AND {within('day')} {newest}"),
        ("clients of a key, 24 hours",
         f"SELECT client, count(*) FROM decisions WHERE key = '{asked['key']}' AND {within('day')} GROUP BY 1"),
        ("clients of an anchor, 24 hours",
         f"SELECT client, count(*) FROM decisions WHERE anchor = '{asked['anchor']}' AND {within('day')} GROUP BY 1"),
        ("denials by code", "SELECT code, count(*) FROM decisions WHERE decision = 'deny' GROUP BY 1"),
        ("denials by hour",
         "SELECT time_bucket(INTERVAL '1 hour', \"at\"::TIMESTAMP), count(*) FROM decisions WHERE decision = 'deny' GROUP BY 1"),
        ("an address", f"SELECT {row} FROM decisions WHERE ip = '{asked['ip']}' {newest}"),
        ("the newest thousand", f"SELECT {row} FROM decisions {newest}"),
    ]
    for what, query in questions:
        timed(what, lambda: len(duck.execute(query).fetchall()))
    sqlite(duck, asked)


def hash_of(client):
    import hashlib

    return int.from_bytes(hashlib.sha256(client.encode()).digest()[:8], "big") >> 1


def sqlite(duck, asked):
    from_epoch = lambda text: duck.execute(f"SELECT epoch_ms(TIMESTAMPTZ '{text}')").fetchone()[0]
    since, hour, day = (from_epoch(asked[name]) for name in ("since", "hour", "day"))
    with tempfile.TemporaryDirectory() as place:
        path = os.path.join(place, "log.sqlite")
        db = sqlite3.connect(path, isolation_level=None)
        db.executescript(TABLE)
        # Those around the times that are asked for.
        source = duck.execute(
            "SELECT epoch_ms(\"at\"), client, key, decision, code, anchor, owner, ip, request, request FROM decisions "
            f"WHERE \"at\" >= '{asked['since']}' ORDER BY index LIMIT {SQLITE_ROWS}")
        count = 0
        while rows := source.fetchmany(65_536):
            db.execute("BEGIN")
            db.executemany(INSERT, rows)
            db.execute("COMMIT")
            count += len(rows)
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        print(f"SQLite {sqlite3.sqlite_version}, {count} rows of the same, {os.path.getsize(path) / max(count, 1):.0f} bytes a row")
        ask = lambda query, *values: len(db.execute(query, values).fetchall())
        newest = "ORDER BY at DESC LIMIT 1000"
        timed("a rare client", lambda: ask(f"SELECT * FROM decisions WHERE client = ? {newest}", asked["rare"]))
        timed("a busy client", lambda: ask(f"SELECT * FROM decisions WHERE client = ? {newest}", asked["busy"]))
        timed("a busy client, one hour", lambda: ask(
            f"SELECT * FROM decisions WHERE client = ? AND at >= ? AND at < ? {newest}", asked["busy"], since, hour))
        timed("clients of a key, 24 hours", lambda: ask(
            "SELECT client, count(*) FROM decisions WHERE key = ? AND at >= ? AND at < ? GROUP BY 1", asked["key"], since, day))
        timed("clients of an anchor, 24 hours", lambda: ask(
            "SELECT client, count(*) FROM decisions WHERE anchor = ? AND at >= ? AND at < ? GROUP BY 1", asked["anchor"], since, day))
        timed("denials by code", lambda: ask("SELECT code, count(*) FROM decisions WHERE decision = 'deny' GROUP BY 1"))
        timed("denials by hour", lambda: ask(
            "SELECT at / 3600000, count(*) FROM decisions WHERE decision = 'deny' GROUP BY 1"))


if sys.argv[1:2] == ["append"]:
    append(sys.argv[2])
else:
    lookup(sys.argv[2], json.loads(sys.argv[3]))
