"""`busauth shadow`: what strict would refuse, and who is in shadow."""
