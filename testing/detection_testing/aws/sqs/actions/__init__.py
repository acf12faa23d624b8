"""The actions of SQS, each from decoded parameters to a decoded answer."""
