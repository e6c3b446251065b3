"""The load of the bench over the AWS Advanced Python wrapper. Started by the bench, with its standard input open as long
as it wants to read.

What is not theirs are only the addresses: names like Amazon's lead to ports of this machine.
"""

import os
import sys
import threading
import time

import psycopg
from aws_advanced_python_wrapper import AwsWrapperConnection
from aws_advanced_python_wrapper.errors import FailoverSuccessError

EVERY = 0.010
SQL = os.environ["PEER_SQL"]
PORTS = dict(place.split("=") for place in os.environ["PEER_PLACES"].split())


def psycopg_connect(**options):
    """A connect that knows where the names lead; the wrapper tells the driver by this function's name."""
    options.update(hostaddr="127.0.0.1", port=PORTS[options["host"]])
    return psycopg.connect(**options)


def connect():
    return AwsWrapperConnection.connect(
        psycopg_connect,
        host=os.environ["PEER_HOST"],
        port=5432,
        dbname="app",
        user="plain",
        password=os.environ["PEER_PASSWORD"],
        # The cheapest a connect can be.
        sslmode="disable",
        gssencmode="disable",
        autocommit=True,
        # It would not find it out: the stage has no settings of Aurora's.
        wrapper_dialect="aurora-pg",
    )


def write(connection):
    with connection.cursor() as cursor:
        cursor.execute(SQL)
        return cursor.fetchone()[0]


def report(taken_by):
    # CLOCK_MONOTONIC, which the bench reads too. One call is one write to the pipe: lines do not mix.
    os.write(1, f"{time.monotonic_ns()} {taken_by}\n".encode())


def task():
    connection = None
    due = time.monotonic()
    while True:
        now = time.monotonic()
        if due > now:
            time.sleep(due - now)
        due = max(due, now) + EVERY
        try:
            connection = connection or connect()
            report(write(connection))
        except FailoverSuccessError:
            # The connection leads to the new writer: again at once.
            report("failed")
            due = 0
        except Exception as error:
            print(f"{time.monotonic_ns()} {error!r}", file=sys.stderr)
            report("failed")
            # A new one at once; if there was none, only after a while.
            due = 0 if connection else due
            close(connection)
            connection = None


def close(connection):
    try:
        if connection:
            connection.close()
    except Exception:
        pass  # It is broken: that is why.


for _ in range(int(os.environ["PEER_TASKS"])):
    threading.Thread(target=task, daemon=True).start()
sys.stdin.read()
os._exit(0)
