/* counter: a process with a group to itself, which counts the orders that the others store: those of all lives of
 * the demo, as it reads the log from its beginning.
 */
#ifndef COUNTER_H
#define COUNTER_H

/* Until SIGTERM. Returns the exit status. */
int counter_main(int who);

#endif
