"""Does an application show from the node what it shows inside the guest?

`table` names the applications, how each is run and how its two outputs are compared; `compare` does the comparing and
knows nothing of guests; `twice` runs one application inside and from the node at the same time, with `workload` going
on in the guest; `report` writes what came of it.
"""
