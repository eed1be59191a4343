"""The pure half of txpusher: plain values in, plain values out, no network."""
