"""`hitmesh load`: sends generated traffic at a fixed rate, then checks that the mesh counted exactly the sent hits."""
