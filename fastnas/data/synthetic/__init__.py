"""Generated street scenes: one call gives the image, the classes, the metric depth and the people's joints.

Data flows one way: `world` composes things made of `primitives` (`objects`, `people`) under a `camera` and a `light`,
`canvas` rasterises them into buffers, `light.make_image` turns these into an image, and `render` reads the labels off
them.
"""
