"""The sandbox on this machine: bubblewrap around a supervisor process. For laptops and demos."""
