def nested(probe):
    def inner():
        return (
            probe()
        )
    return inner()

def generator(probe):
    for _ in range(1):
        yield probe()

async def innermost(probe):
    return probe()

async def coroutine(probe):
    return await innermost(probe)

def run(coroutine):
    try:
        coroutine.send(None)
    except StopIteration as ended:
        return ended.value

def deep(probe, more):
    return deep(probe, more - 1) if more else probe()

def class_body(probe):
    class Body:
        found = probe()
    return Body.found

def all(probe):
    found = [nested(probe), *generator(probe), run(coroutine(probe)), class_body(probe), deep(probe, 100)]
    found.append((lambda: probe())())
    found += [probe() for _ in range(1)]
    return found + sorted([0], key=lambda _: (found.append(probe()), 0)[1])[:0]

found = all(probe)
