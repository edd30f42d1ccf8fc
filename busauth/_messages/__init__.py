"""A message, and whose word that is: who published it, when, and was it seen before?"""
