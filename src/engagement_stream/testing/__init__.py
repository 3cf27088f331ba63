"""For tests of sinks, ours and yours: what a server may do wrong, in words and in effect."""
