"""Handing over as nobody what strict would refuse: for a while, by an operator's word alone."""
