"""The other end of the floor: a process that takes in everything and throws it away. Prints the socket's path."""

import selectors
import shutil
import socket
import sys
import tempfile
import time
from pathlib import Path

folder = Path(tempfile.mkdtemp(prefix="sweep-bench-"))
path = folder / "s"
listener = socket.socket(socket.AF_UNIX)
listener.bind(str(path))
listener.listen(64)
selector = selectors.DefaultSelector()
selector.register(listener, selectors.EVENT_READ)
selector.register(sys.stdin, selectors.EVENT_READ)
print(path, flush=True)
while True:
    for key, _ in selector.select():
        if key.fileobj is sys.stdin:  # closed: the benchmark has ended
            shutil.rmtree(folder)
            sys.exit()
        if key.fileobj is listener:
            connection, _ = listener.accept()
            selector.register(connection, selectors.EVENT_READ)
        elif not key.fileobj.recv(1 << 16):
            selector.unregister(key.fileobj)
            key.fileobj.close()
    time.sleep(0.0005)  # an agent does something with what it reads, and so reads several rows at once
