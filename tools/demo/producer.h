/* producer: the process that sends orders, so many a second, until SIGTERM. */
#ifndef PRODUCER_H
#define PRODUCER_H

/* path: of the ledger. Returns the exit status. */
int producer_main(int who, double rate, const char *path);

#endif
