"""What the doctor looks at, a module each; none of it changes anything."""
