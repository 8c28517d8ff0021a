// The service that the demo and the end-to-end tests call.
service Hello {
    string sayHello(1: string name)
    string sayBye(1: string name)
}
