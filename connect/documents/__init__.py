"""Documents: what Prime hands over and Sage books. One kind each: its model, how it is read, what it becomes, what stands against it."""
