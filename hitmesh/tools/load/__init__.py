"""`hitmesh load`: offers made-up traffic at a fixed rate, then checks that the mesh counted exactly what was sent."""
