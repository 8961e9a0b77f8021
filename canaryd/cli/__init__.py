"""The command line. Commands import what they use when they run, so that `canaryd --help` starts at once.

Exit codes, the same for every command unless its help says more:

    0   what was asked for was done, or is so
    1   it was tried and failed: a release that did not end as it should, a cluster that did not answer
    2   it could not be tried: wrong usage, or a configuration that cannot be used
"""
