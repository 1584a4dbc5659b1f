"""The AWS policy language: what a document may say, and what it decides.

Pure: no I/O beyond reading the package's own table, no clock, no database. Who holds which policies, and which
ARN an operation acts on, is the authority's to say.
"""
