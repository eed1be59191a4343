"""
How fast txpusher is, and how it holds out, beside other libraries in the same run.

Plain scripts, started by hand::

    python -m tests.benchmarks.throughput     events per second, CPU and memory, beside peers
    python -m tests.benchmarks.soak           a million triggers against a server with faults
    python -m tests.benchmarks.publication_soak   a million events through one publish()
    python -m tests.benchmarks.server_load    txpusher's server beside soketi
    python -m tests.benchmarks.receiving      a subscriber beside pusher-js, websocket-client
    python -m tests.benchmarks.restarts       subscribers, while their server restarts 50 times
    python -m tests.benchmarks.profile ROW    where the CPU time of a row goes

``throughput`` and ``server_load`` take ``--against PATH``: they then measure another
checkout's package beside this one's, in alternating rounds, as claims about a change need.

They need the extra ``txpusher[benchmark]``; the first nginx too; the first and the
last Node.js with what ``npm install --prefix tests/interop`` installs.  What is missing
is left out, and said so; unless ``--only`` leaves it out, the exit code is then 1, as it is
where a target is not met.  Each stops by itself and talks to 127.0.0.1 only.  Ratios within
one run say something; absolute figures are those of one machine at one moment.
"""
