"""The front: routes, API models, authentication, and the edge of media sockets."""
