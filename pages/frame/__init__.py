"""The frame around every page: navigation, address, results in the making, pictures."""
