"""The API under `/v1`: a skin over `application`, in JSON and Arrow."""
