"""Generated street scenes: one call gives the picture, the classes, the metric depth and the people's joints.

Data flows one way: `layout` composes things made of `parts` (`objects`, `people`) under a `camera` and a `light`,
`canvas` draws them into buffers, `light.develop` makes the picture, and `render` reads the labels off the buffers.
"""
